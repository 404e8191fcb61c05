//! Cancellation: one flag that ends every loop and every wait, and the error that reports it.
//!
//! Clones of a [`Cancel`] share the flag. Loops call [`Cancel::check`], or read and write through
//! [`Cancellable`]. Waits end at once when the flag is set. On its way up, [`Cancelled`] may become
//! the cause of other errors, where [`Cancelled::caused`] finds it.
//!
//! ```
//! use std::io::{self, Read as _};
//! use std::thread;
//!
//! use layer::cancel::{Cancel, Cancellable, Cancelled};
//!
//! let cancel = Cancel::new();
//! let mut zeros = Cancellable::new(io::repeat(0), &cancel);
//! zeros.read_exact(&mut [0; 512])?;
//!
//! let copy = thread::spawn(move || io::copy(&mut zeros, &mut io::sink()));
//! cancel.cancel();
//! let error = copy.join().unwrap().unwrap_err();
//! assert!(Cancelled::caused(&error));
//! # io::Result::Ok(())
//! ```

mod threaded;

use std::collections::BTreeMap;
use std::error::Error;
use std::future::poll_fn;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::iter::successors;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;
use std::{fmt, mem};

use ext4::{Output, ReadAt};

pub use threaded::ThreadedReader;

/// A flag that cancels work on other threads. Clones share it. A new one is not set.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Set under the lock of the waiters, so that each of them sees it or is woken.
    cancelled: AtomicBool,
    waiters: Mutex<Waiters>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiters {
    wakers: BTreeMap<u64, Waker>,
    next_key: u64,
}

impl Cancel {
    /// Creates a flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the flag for good, and wakes all waiters.
    ///
    /// Takes a lock, so it must not be called in a signal handler. A handler can wake a thread that
    /// calls it.
    pub fn cancel(&self) {
        let wakers = {
            let mut waiters = self.lock();
            self.0.cancelled.store(true, Ordering::Relaxed);
            mem::take(&mut waiters.wakers)
        };
        self.0.changed.notify_all();
        wakers.into_values().for_each(Waker::wake);
    }

    /// Returns whether the flag is set.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    /// Returns an error once the flag is set.
    ///
    /// # Errors
    ///
    /// [`Cancelled`].
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Sleeps for `timeout`, or until the flag is set.
    ///
    /// # Errors
    ///
    /// [`Cancelled`], at once when the flag is set.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), Cancelled> {
        let waiting = |_: &mut Waiters| !self.is_cancelled();
        drop(self.0.changed.wait_timeout_while(self.lock(), timeout, waiting));
        self.check()
    }

    /// Waits until the flag is set. The future may be dropped at any time, and does not depend on a
    /// particular runtime.
    pub async fn cancelled(&self) -> Cancelled {
        let registration = self.register();
        poll_fn(|context| match registration.set_waker(context.waker()) {
            Ok(()) => Poll::Pending,
            Err(cancelled) => Poll::Ready(cancelled),
        })
        .await
    }

    fn register(&self) -> Registration {
        let mut waiters = self.lock();
        waiters.next_key += 1;
        Registration {
            cancel: self.clone(),
            key: waiters.next_key,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.0.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registration of at most one waker, removed on drop.
#[derive(Debug)]
struct Registration {
    cancel: Cancel,
    key: u64,
}

impl Registration {
    /// Registers a waker in place of an earlier one. It is woken when the flag is set.
    fn set_waker(&self, waker: &Waker) -> Result<(), Cancelled> {
        let replaced = {
            let mut waiters = self.cancel.lock();
            self.cancel.check()?;
            waiters.wakers.insert(self.key, waker.clone())
        };
        // Dropped without the lock: the destructor of a waker may take it.
        drop(replaced);
        Ok(())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let removed = self.cancel.lock().wakers.remove(&self.key);
        drop(removed);
    }
}

/// Error of work that was cancelled.
///
/// As an [`io::Error`] it has the kind `Other`, since readers retry on `Interrupted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl Cancelled {
    /// Returns whether an error is a cancellation, or has one among its causes.
    ///
    /// Looks into an [`io::Error`] too. A cancellation that is the source of a transparent error is
    /// not found: give that error a text of its own, or a variant for a cancellation.
    #[must_use]
    pub fn caused(error: &(dyn Error + 'static)) -> bool {
        let mut causes = successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
            // Its `source` skips the error inside of it.
            Some(error) => error.get_ref().map(|inner| inner as _),
            None => error.source(),
        });
        causes.any(<dyn Error>::is::<Self>)
    }

    /// Replaces an error that a cancellation caused by the cancellation itself.
    #[must_use]
    pub fn surface<E: Error + From<Self> + 'static>(error: E) -> E {
        if Self::caused(&error) { Self.into() } else { error }
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl Error for Cancelled {}

impl From<Cancelled> for io::Error {
    fn from(cancelled: Cancelled) -> Self {
        Self::other(cancelled)
    }
}

/// A reader or an output that fails with [`Cancelled`] once the flag is set.
#[derive(Debug)]
pub struct Cancellable<T> {
    inner: T,
    cancel: Cancel,
}

impl<T> Cancellable<T> {
    /// Wraps a reader or an output.
    pub fn new(inner: T, cancel: &Cancel) -> Self {
        Self {
            inner,
            cancel: cancel.clone(),
        }
    }

    /// Returns the wrapped reader or output.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<R: Read> Read for Cancellable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check()?;
        self.inner.read(buffer)
    }
}

impl<R: BufRead> BufRead for Cancellable<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.cancel.check()?;
        self.inner.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        self.inner.consume(len);
    }
}

impl<R: ReadAt> ReadAt for Cancellable<R> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.cancel.check()?;
        self.inner.read_exact_at(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }
}

impl<S: Seek> Seek for Cancellable<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

impl<O: Output> Output for Cancellable<O> {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.cancel.check()?;
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.cancel.check()?;
        self.inner.write_at(bytes, offset)
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.cancel.check()?;
        self.inner.discard(offset, len)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.cancel.check()?;
        self.inner.set_len(len)
    }

    fn max_len(&self) -> Option<u64> {
        self.inner.max_len()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Wake};
    use std::thread::{self, Thread};
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_mins(10);
    const SOON: Duration = Duration::from_mins(1);

    /// Cancels while `wait` waits on this thread. Returns its result, which must come soon.
    pub(super) fn cancel_during<T>(cancel: &Cancel, wait: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let canceller = cancel.clone();
        let result = thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(100));
                canceller.cancel();
            });
            wait()
        });
        assert!(begun.elapsed() < SOON);
        result
    }

    #[test]
    fn clones_share_the_flag() {
        let cancel = Cancel::new();
        let clone = cancel.clone();
        assert_eq!((cancel.check(), clone.check()), (Ok(()), Ok(())));
        clone.cancel();
        assert_eq!((cancel.check(), clone.check()), (Err(Cancelled), Err(Cancelled)));
        assert_eq!(Cancel::new().check(), Ok(()));
    }

    #[test]
    fn a_waiting_thread_wakes_at_once() {
        let cancel = Cancel::new();
        let pause = Duration::from_millis(20);
        let begun = Instant::now();
        assert_eq!(cancel.wait_timeout(pause), Ok(()));
        assert!(begun.elapsed() >= pause);
        assert_eq!(cancel_during(&cancel, || cancel.wait_timeout(LONG)), Err(Cancelled));
        assert_eq!(cancel.wait_timeout(LONG), Err(Cancelled));
    }

    /// Waits for a future on this thread.
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let mut future = pin!(future);
        let waker = Arc::new(Unpark(thread::current())).into();
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            thread::park();
        }
    }

    #[test]
    fn waiting_futures_wake_at_once() {
        let cancel = Cancel::new();
        let (first, second) = cancel_during(&cancel, || {
            thread::scope(|scope| {
                let other = scope.spawn(|| block_on(cancel.cancelled()));
                (block_on(cancel.cancelled()), other.join().unwrap())
            })
        });
        assert_eq!((first, second), (Cancelled, Cancelled));
        assert_eq!(block_on(cancel.cancelled()), Cancelled);
    }

    #[test]
    fn a_future_has_one_waker_and_leaves_none() {
        let cancel = Cancel::new();
        {
            let mut future = pin!(cancel.cancelled());
            for _ in 0..2 {
                assert!(
                    future
                        .as_mut()
                        .poll(&mut Context::from_waker(Waker::noop()))
                        .is_pending()
                );
                assert_eq!(cancel.lock().wakers.len(), 1);
            }
        }
        assert!(cancel.lock().wakers.is_empty());
    }

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error(transparent)]
        Read(#[from] io::Error),
        #[error("outer")]
        Caused(#[source] Box<Failure>),
        #[error("interrupted")]
        Cancelled(#[from] Cancelled),
    }

    #[test]
    fn a_cancellation_is_found_behind_other_errors() {
        let io = || io::Error::from(Cancelled);
        let caused = |failure: Failure| Failure::Caused(Box::new(failure));
        assert_eq!(io().kind(), io::ErrorKind::Other);
        assert_eq!(io().to_string(), "interrupted");
        for error in [
            io(),
            io::Error::other(io()),
            io::Error::new(io::ErrorKind::InvalidData, io::Error::other(io())),
            io::Error::other(Failure::Cancelled(Cancelled)),
            io::Error::other(caused(caused(Cancelled.into()))),
        ] {
            assert!(Cancelled::caused(&error), "{error:?}");
            let error = caused(Failure::Caused(Box::new(Cancelled.into())));
            assert!(matches!(Cancelled::surface(error), Failure::Cancelled(_)));
        }
        for error in [
            io::Error::other("interrupted"),
            io::ErrorKind::Interrupted.into(),
            io::Error::other(caused(io::Error::other("interrupted").into())),
        ] {
            assert!(!Cancelled::caused(&error), "{error:?}");
            assert!(matches!(Cancelled::surface(error.into()), Failure::Read(_)));
        }
    }

    #[test]
    fn reading_ends_when_the_flag_is_set() {
        let cancel = Cancel::new();
        let mut endless = Cancellable::new(io::repeat(0), &cancel);
        let mut buffer = [1; 4];
        endless.read_exact(&mut buffer).unwrap();
        assert_eq!(buffer, [0; 4]);
        let mut buffered = Cancellable::new(&b"ab"[..], &cancel);
        assert_eq!(buffered.fill_buf().unwrap(), b"ab");
        buffered.consume(1);

        cancel.cancel();
        let copied = io::copy(&mut endless, &mut io::sink());
        assert!(Cancelled::caused(&copied.unwrap_err()));
        assert!(Cancelled::caused(&buffered.fill_buf().unwrap_err()));
    }

    #[test]
    fn nothing_is_written_once_the_flag_is_set() {
        let cancel = Cancel::new();
        let mut output = Cancellable::new(Vec::new(), &cancel);
        output.write_at(b"before", 0).unwrap();

        cancel.cancel();
        output.write_at(b"behind", 0).unwrap_err();
        output.discard(0, 6).unwrap_err();
        output.set_len(0).unwrap_err();
        assert_eq!(output.into_inner(), b"before");
    }
}
