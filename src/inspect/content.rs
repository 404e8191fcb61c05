//! The content of a file in a disk image, from its first byte to its last.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ext4::Reader;
use ext4::read::{self, LookupError};

use super::at;
use crate::stage::write_sparsely;
use layer::cancel::Cancellable;

/// Bytes that are copied at once.
const CHUNK: usize = 1 << 20;

/// The content of a file in a disk image.
///
/// Where it cannot be read, the [`io::Error`] is an [`InspectError`](super::InspectError) inside.
pub struct Content<'disk> {
    image: &'disk Path,
    path: Vec<u8>,
    file: read::File<&'disk Reader<Cancellable<File>>>,
}

impl fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Content");
        shown.field("file", &self.file).finish_non_exhaustive()
    }
}

impl<'disk> Content<'disk> {
    pub(super) fn new(image: &'disk Path, path: &[u8], file: read::File<&'disk Reader<Cancellable<File>>>) -> Self {
        let path = path.to_vec();
        Self { image, path, file }
    }

    /// Size in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.file.inode().size
    }

    /// Permission, setuid, setgid and sticky bits.
    #[must_use]
    pub fn mode(&self) -> u16 {
        self.file.inode().mode
    }

    /// Writes it to its place in an empty file. Holes and zeros become holes.
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
            Ok(error) => io::Error::other(at(self.image, &self.path, LookupError::Read(error))),
            Err(error) => error,
        }
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer).map_err(|error| self.failed(error))
    }
}
