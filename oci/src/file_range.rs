//! Ranges of bytes in a file, each with a position of its own, so that several threads can read one
//! file.

mod error;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::error::ImageError;
use super::manifest::{MAX_DOCUMENT_LEN, ManifestError};
use crate::host::{Untrusted, open_file};

pub use error::FileError;
pub(super) use error::MAKE_ARCHIVE_AGAIN;

/// A range of bytes in a file. Clones read independently.
#[derive(Debug, Clone)]
pub(super) struct FileRange {
    file: Arc<File>,
    start: u64,
    len: u64,
    position: u64,
}

impl FileRange {
    /// Opens a whole regular file. A directory, FIFO or device is an error; opening never waits for
    /// the writer of a FIFO.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let failed = |source| FileError::Read {
            path: path.to_owned(),
            source,
        };
        let file = match open_file(path) {
            Err(error) if Untrusted::from_error(&error).is_some() => {
                return Err(FileError::NotAFile { path: path.to_owned() });
            }
            file => file.map_err(failed)?,
        };
        let len = file.metadata().map_err(failed)?.len();
        Ok(Self::prefix(file, len))
    }

    /// Returns the `len` bytes from offset `start` of a file.
    pub(super) fn new(file: Arc<File>, start: u64, len: u64) -> Self {
        Self {
            file,
            start,
            len,
            position: 0,
        }
    }

    /// Returns the first `len` bytes of a file.
    pub(super) fn prefix(file: File, len: u64) -> Self {
        Self::new(Arc::new(file), 0, len)
    }

    /// Returns the file.
    pub(super) fn into_file(self) -> Arc<File> {
        self.file
    }

    /// Reads the whole range, which must not exceed [`MAX_DOCUMENT_LEN`]. `path` names it in
    /// errors.
    pub(super) fn read_document(mut self, path: &Path) -> Result<Vec<u8>, ImageError> {
        if self.len > MAX_DOCUMENT_LEN {
            return Err(ImageError::document(
                path.display(),
                ManifestError::TooLarge { len: self.len },
            ));
        }
        let mut content = Vec::new();
        self.read_to_end(&mut content).map_err(|source| FileError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(content)
    }

    /// Returns the length of the range in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

impl Read for FileRange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.len - self.position;
        let len = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = read_at(&self.file, &mut buffer[..len], self.start + self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for FileRange {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        // Positions beyond the end are clamped to it.
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?.min(self.len);
        Ok(self.position)
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}
