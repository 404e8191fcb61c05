//! Reading of regular files in a disk image.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use ext4::read::{self, LookupError};
use ext4::{ReadAt, Reader};

use super::path_error;
use crate::stage::write_sparsely;
use layer::cancel::Cancellable;

/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

/// A regular file in a disk image, open for reading.
///
/// Any number of files can be open at once. Each shares the reader of its
/// [`DiskImage`](super::DiskImage), so it can outlive the disk image and move to another thread.
///
/// If the disk image cannot be read, the [`io::Error`] wraps an
/// [`InspectError`](super::InspectError).
pub struct FileContent<R = File> {
    /// Path of the disk image; `None` if it is not a file.
    image: Option<PathBuf>,
    path: Vec<u8>,
    file: SharedFile<R>,
}

/// A file that shares the reader of its disk image.
type SharedFile<R> = read::File<Arc<Reader<Cancellable<R>>>>;

impl<R> fmt::Debug for FileContent<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("FileContent");
        shown.field("file", &self.file).finish_non_exhaustive()
    }
}

impl<R: ReadAt> FileContent<R> {
    pub(super) fn new(image: Option<PathBuf>, path: &[u8], file: SharedFile<R>) -> Self {
        let path = path.to_vec();
        Self { image, path, file }
    }

    /// Returns the size in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.file.inode().size
    }

    /// Returns the permission, setuid, setgid and sticky bits.
    #[must_use]
    pub fn mode(&self) -> u16 {
        self.file.inode().mode
    }

    /// Copies the content to an empty file. Holes and pages of zeros become holes.
    pub(super) fn write_to(&self, file: &mut File) -> io::Result<()> {
        file.set_len(self.size_bytes())?;
        let mut buffer = vec![0; CHUNK];
        let mut at = 0;
        while let Some(data) = self.file.next_data(at) {
            let len = usize::try_from(data.end - data.start).map_or(CHUNK, |len| len.min(CHUNK));
            let read = self.file.read_at(&mut buffer[..len], data.start);
            read.map_err(|error| self.failed(error.into()))?;
            write_sparsely(file, data.start, &buffer[..len])?;
            at = data.start + len as u64;
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> io::Error {
        match error.downcast() {
            Ok(error) => io::Error::other(path_error(self.image.as_deref(), &self.path, LookupError::Read(error))),
            Err(error) => error,
        }
    }
}

impl<R: ReadAt> Read for FileContent<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer).map_err(|error| self.failed(error))
    }
}

impl<R: ReadAt> Seek for FileContent<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
