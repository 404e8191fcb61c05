//! Locks and threads: those of the standard library, and in unit tests those of a model checker.
//!
//! The checker runs all threads of a test on one thread, and chooses at each operation on a lock
//! which of them continues. It does not support s390x.

#[cfg(not(all(test, not(target_arch = "s390x"))))]
mod imp {
    use std::thread;

    pub(crate) use std::sync::atomic::AtomicBool;
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::thread::{Scope, scope};

    /// Starts a thread in a scope. Returns whether the system allowed it.
    pub(crate) fn spawn<'scope>(
        scope: &'scope Scope<'scope, '_>,
        name: String,
        run: impl FnOnce() + Send + 'scope,
    ) -> bool {
        thread::Builder::new().name(name).spawn_scoped(scope, run).is_ok()
    }
}

#[cfg(all(test, not(target_arch = "s390x")))]
mod imp {
    pub(crate) use shuttle::sync::atomic::AtomicBool;
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use shuttle::thread::{Scope, scope};

    pub(crate) fn spawn<'scope>(
        scope: &'scope Scope<'scope, '_>,
        _name: String,
        run: impl FnOnce() + Send + 'scope,
    ) -> bool {
        scope.spawn(run);
        true
    }
}

pub(super) use imp::{AtomicBool, Condvar, Mutex, MutexGuard, scope, spawn};
