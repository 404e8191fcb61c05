//! [`ReadAt`]: positioned reads, for readers that many threads share.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

/// Source of bytes with positioned reads: a file, a device, or memory.
///
/// Reads take `&self`, so threads can share a file without sharing a position in it. [`ReadSeek`]
/// adapts anything that is [`Read`] and [`Seek`].
pub trait ReadAt {
    /// Fills the buffer with the bytes from an offset on.
    ///
    /// # Errors
    ///
    /// The errors of the source, and [`io::ErrorKind::UnexpectedEof`] beyond its end.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Returns the size in bytes.
    ///
    /// # Errors
    ///
    /// The errors of the source.
    fn size(&self) -> io::Result<u64>;
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = usize::try_from(offset).ok().and_then(|start| self.get(start..));
        let bytes = bytes.and_then(|bytes| bytes.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// A regular file or a device. The file's position is ignored. On systems other than Unix, reads
/// change it.
impl ReadAt for File {
    #[cfg(unix)]
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }

    #[cfg(windows)]
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(self, buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => {
                    buffer = &mut buffer[len..];
                    offset += len as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Moves the position, so only one thread at a time may read.
    #[cfg(not(any(unix, windows)))]
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut file = self;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(buffer)
    }

    fn size(&self) -> io::Result<u64> {
        let metadata = self.metadata()?;
        if metadata.is_file() {
            return Ok(metadata.len());
        }
        // The metadata of a block device has size zero.
        let mut file = self;
        file.seek(SeekFrom::End(0))
    }
}

macro_rules! forward {
    ($([$($parameter:tt)*] $type:ty;)*) => { $(
        impl<$($parameter)*> ReadAt for $type {
            fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
                (**self).read_exact_at(buffer, offset)
            }

            fn size(&self) -> io::Result<u64> {
                (**self).size()
            }
        }
    )* };
}

forward! {
    [] Vec<u8>;
    [T: ReadAt + ?Sized] &T;
    [T: ReadAt + ?Sized] Box<T>;
    [T: ReadAt + ?Sized] Arc<T>;
}

/// Memory. The cursor's position is ignored.
impl<T: AsRef<[u8]>> ReadAt for Cursor<T> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.get_ref().as_ref().read_exact_at(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.get_ref().as_ref().size()
    }
}

/// Adapter that makes [`ReadAt`] of a source with a position. A lock covers seeking and reading,
/// so threads that share the source wait for each other.
#[derive(Debug, Default)]
pub struct ReadSeek<T>(Mutex<T>);

impl<T: Read + Seek> ReadSeek<T> {
    /// Wraps a source. Offsets count from its first byte, not from its current position.
    pub fn new(source: T) -> Self {
        Self(Mutex::new(source))
    }

    /// Returns the source. Its position is unspecified.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Read + Seek> ReadAt for ReadSeek<T> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        // Each call seeks first, so a call that panicked leaves no harmful state.
        let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        source.seek(SeekFrom::Start(offset))?;
        source.read_exact(buffer)
    }

    fn size(&self) -> io::Result<u64> {
        let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        source.seek(SeekFrom::End(0))
    }
}
