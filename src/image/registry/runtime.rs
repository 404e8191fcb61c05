//! The runtime that requests run on.

use std::panic::resume_unwind;
use std::thread;

use tokio::runtime::{Builder, Handle};

use super::RegistryError;

/// A runtime of its own, which can be waited for and dropped inside of another one too.
pub(super) struct Runtime {
    /// Taken only when this is dropped.
    inner: Option<tokio::runtime::Runtime>,
}

impl Runtime {
    pub(super) fn new() -> Result<Self, RegistryError> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let inner = Some(runtime.map_err(RegistryError::Runtime)?);
        Ok(Self { inner })
    }

    pub(super) fn handle(&self) -> &Handle {
        self.inner.as_ref().expect("the runtime is there until drop").handle()
    }

    /// Waits for a future, on a thread of its own where the caller's belongs to a runtime, which
    /// allows no other one there.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Runtime`] if there can be no such thread.
    pub(super) fn block_on<T: Send>(&self, run: impl AsyncFnOnce() -> T + Send) -> Result<T, RegistryError> {
        let handle = self.handle();
        if Handle::try_current().is_err() {
            return Ok(handle.block_on(run()));
        }
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("registry".to_owned());
            let waiting = thread.spawn_scoped(scope, || handle.block_on(run()));
            let result = waiting.map_err(RegistryError::Runtime)?.join();
            Ok(result.unwrap_or_else(|panic| resume_unwind(panic)))
        })
    }
}

impl Drop for Runtime {
    /// Does not wait for what cannot be cancelled, such as a name lookup.
    fn drop(&mut self) {
        if let Some(runtime) = self.inner.take() {
            runtime.shutdown_background();
        }
    }
}
