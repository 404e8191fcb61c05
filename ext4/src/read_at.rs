//! [`ReadAt`]: bytes by position, for readers that many threads share.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes by position: a file, a device, or memory.
///
/// Reads take `&self`, so that threads can share one file without sharing a position in it.
/// [`ReadSeek`] makes one of anything that is [`Read`] and [`Seek`].
pub trait ReadAt {
    /// Fills the buffer with the bytes at an offset.
    ///
    /// # Errors
    ///
    /// That of the source, and [`io::ErrorKind::UnexpectedEof`] beyond its end.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Returns the size in bytes.
    ///
    /// # Errors
    ///
    /// That of the source.
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

/// A regular file or a device. Its position does not matter; on systems other than Unix, reads move
/// it.
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

    /// Moves the position, which only one thread at a time may do.
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
        // The size in the metadata of a block device is zero.
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

/// Memory; the cursor's position does not matter.
impl<T: AsRef<[u8]>> ReadAt for Cursor<T> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.get_ref().as_ref().read_exact_at(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.get_ref().as_ref().size()
    }
}

/// Makes a source with a position one without: a lock keeps seeking and reading together, so
/// threads that share it wait for each other.
#[derive(Debug, Default)]
pub struct ReadSeek<T>(Mutex<T>);

impl<T: Read + Seek> ReadSeek<T> {
    /// Reads from a source, from its first byte on wherever its position is.
    pub fn new(source: T) -> Self {
        Self(Mutex::new(source))
    }

    /// Returns the source, its position anywhere.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Read + Seek> ReadAt for ReadSeek<T> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        // Each call seeks first, so one that panicked left nothing behind that matters.
        let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        source.seek(SeekFrom::Start(offset))?;
        source.read_exact(buffer)
    }

    fn size(&self) -> io::Result<u64> {
        let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        source.seek(SeekFrom::End(0))
    }
}
