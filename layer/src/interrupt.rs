//! Getting out of any loop, and of any wait, when somebody asks to stop.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use ext4::{Output, ReadAt};

/// How often a wait looks whether it shall end.
pub const POLL: Duration = Duration::from_millis(100);

/// A reader or an output that fails as soon as the flag is set.
///
/// Every loop of a build reads or writes, or asks [`check`], so this ends them all; what they make of the failure on its way up
/// doesn't matter, since who began the loop looks at the flag again.
pub struct Interruptible<T> {
    inner: T,
    interrupted: Arc<AtomicBool>,
}

impl<T> Interruptible<T> {
    /// Wraps a reader or an output.
    pub fn new(inner: T, interrupted: &Arc<AtomicBool>) -> Self {
        Self {
            inner,
            interrupted: Arc::clone(interrupted),
        }
    }

    /// Returns what was wrapped.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.inner
    }

    fn check(&self) -> io::Result<()> {
        check(&self.interrupted)
    }
}

/// Fails if the flag is set.
///
/// # Errors
///
/// One without a kind of its own.
pub fn check(interrupted: &AtomicBool) -> io::Result<()> {
    if is_raised(interrupted) {
        // Not `ErrorKind::Interrupted`, which readers take as an invitation to try again.
        return Err(io::Error::other("interrupted"));
    }
    Ok(())
}

/// Whether the flag is set.
pub fn is_raised(interrupted: &AtomicBool) -> bool {
    interrupted.load(Ordering::Relaxed)
}

/// A reader that may wait for bytes without end, such as a pipe, read by a thread of its own so that who waits for it does not.
///
/// The thread ends with what it reads; when this is dropped, with the next bytes that come.
pub struct Awaited {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    position: usize,
    is_over: bool,
    interrupted: Arc<AtomicBool>,
}

impl Awaited {
    /// What a pipe holds on Linux, in bytes.
    const PIECE_LEN: usize = 64 << 10;

    /// Pieces that are read ahead.
    const PIECES: usize = 8;

    /// Begins to read.
    ///
    /// # Errors
    ///
    /// That there is no other thread.
    pub fn new(reader: impl Read + Send + 'static, interrupted: &Arc<AtomicBool>) -> io::Result<Self> {
        let (sender, pieces) = sync_channel(Self::PIECES);
        let thread = thread::Builder::new().name("input".to_owned());
        thread.spawn(move || Self::hand_over(reader, &sender))?;
        Ok(Self {
            pieces,
            piece: Vec::new(),
            position: 0,
            is_over: false,
            interrupted: Arc::clone(interrupted),
        })
    }

    /// Reads to the end, which an empty piece stands for, or to an error, as long as somebody listens.
    fn hand_over(mut reader: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) {
        loop {
            let mut piece = vec![0; Self::PIECE_LEN];
            let read = match reader.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read,
            };
            let is_last = !matches!(read, Ok(1..));
            let read = read.map(|len| {
                piece.truncate(len);
                piece
            });
            if sender.send(read).is_err() || is_last {
                return;
            }
        }
    }

    /// Waits for the next piece.
    fn next(&self) -> io::Result<Vec<u8>> {
        loop {
            check(&self.interrupted)?;
            match self.pieces.recv_timeout(POLL) {
                Ok(piece) => return piece,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("the thread that read has ended")),
            }
        }
    }
}

impl Read for Awaited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.piece.len() && !self.is_over {
            (self.piece, self.position) = (self.next()?, 0);
            self.is_over = self.piece.is_empty();
        }
        let left = &self.piece[self.position..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.position += count;
        Ok(count)
    }
}

impl<R: Read> Read for Interruptible<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.read(buffer)
    }
}

impl<S: Seek> Seek for Interruptible<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

impl<R: ReadAt> ReadAt for Interruptible<R> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.check()?;
        self.inner.read_exact_at(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
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
    fn what_is_awaited_comes_whole_and_with_its_error() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let interrupted = Arc::default();
        let content: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        let mut read = Vec::new();
        let mut whole = Awaited::new(io::Cursor::new(content.clone()), &interrupted).unwrap();
        whole.read_to_end(&mut read).unwrap();
        assert!(read == content);
        assert_eq!(whole.read(&mut [0]).unwrap(), 0, "the end stays");

        let mut broken = Awaited::new(io::Cursor::new(b"abc").chain(Fails), &interrupted).unwrap();
        let error = broken.read_to_end(&mut read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(read.split_off(content.len()), b"abc");
        assert!(broken.read(&mut [0]).is_err(), "what broke off has no end");
    }

    #[test]
    fn a_wait_for_what_never_comes_ends_when_the_flag_is_set() {
        let interrupted = Arc::new(AtomicBool::new(false));
        let (silent, _writer) = io::pipe().unwrap();
        let mut awaited = Awaited::new(silent, &interrupted).unwrap();
        let begun = std::time::Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(2 * POLL);
                interrupted.store(true, Ordering::Relaxed);
            });
            awaited.read(&mut [0]).unwrap_err();
        });
        assert!(begun.elapsed() >= 2 * POLL && begun.elapsed() < Duration::from_mins(1));
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
