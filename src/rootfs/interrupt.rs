//! Getting out of any loop when somebody asks to stop.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ext4::Output;

/// A reader or an output that fails as soon as the flag is set.
///
/// Every loop of a build reads or writes, or asks [`check`], so this ends them all; what they make of the failure on its way up
/// doesn't matter, since [`build`](super::build) looks at the flag again.
pub(super) struct Interruptible<T> {
    inner: T,
    interrupted: Arc<AtomicBool>,
}

impl<T> Interruptible<T> {
    pub(super) fn new(inner: T, interrupted: &Arc<AtomicBool>) -> Self {
        Self {
            inner,
            interrupted: Arc::clone(interrupted),
        }
    }

    pub(super) fn into_inner(self) -> T {
        self.inner
    }

    fn check(&self) -> io::Result<()> {
        check(&self.interrupted)
    }
}

/// Fails if the flag is set.
pub(super) fn check(interrupted: &AtomicBool) -> io::Result<()> {
    if interrupted.load(Ordering::Relaxed) {
        // Not `ErrorKind::Interrupted`, which readers take as an invitation to try again.
        return Err(io::Error::other("interrupted"));
    }
    Ok(())
}

impl<R: Read> Read for Interruptible<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.read(buffer)
    }
}

impl<O: Output> Output for Interruptible<O> {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.check()?;
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check()?;
        self.inner.write_at(bytes, offset)
    }

    fn clear(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.check()?;
        self.inner.clear(offset, len)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.check()?;
        self.inner.set_len(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_ends_when_the_flag_is_set() {
        let interrupted = Arc::new(AtomicBool::new(false));
        let mut endless = Interruptible::new(io::repeat(0), &interrupted);
        let mut buffer = [1; 4];
        endless.read_exact(&mut buffer).unwrap();
        assert_eq!(buffer, [0; 4]);

        interrupted.store(true, Ordering::Relaxed);
        io::copy(&mut endless, &mut io::sink()).unwrap_err();
    }

    #[test]
    fn nothing_is_written_once_the_flag_is_set() {
        let interrupted = Arc::new(AtomicBool::new(false));
        let mut output = Interruptible::new(Vec::new(), &interrupted);
        output.write_at(b"before", 0).unwrap();

        interrupted.store(true, Ordering::Relaxed);
        output.write_at(b"behind", 0).unwrap_err();
        output.clear(0, 6).unwrap_err();
        output.set_len(0).unwrap_err();
        assert_eq!(output.into_inner(), b"before");
    }
}
