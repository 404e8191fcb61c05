//! The content of a file in a disk image, from its first byte to its last.

use std::fs::File;
use std::io::{self, Read};

use std::path::Path;

use ext4::{DataRange, FoundInode, ReadError, Reader};

use super::walk::WalkError;
use super::{InspectError, at};
use crate::stage::write_sparsely;
use layer::cancel::Cancellable;

/// Bytes that are copied at once.
const CHUNK: usize = 1 << 20;

/// The content of a file in a disk image.
///
/// Where it cannot be read, the [`io::Error`] is an [`InspectError`] inside.
pub struct Content<'disk> {
    image: &'disk Path,
    path: Vec<u8>,
    reader: &'disk mut Reader<Cancellable<File>>,
    size: u64,
    mode: u16,
    /// What is not a hole, the last first.
    ranges: Vec<DataRange>,
    /// The next byte to read.
    at: u64,
}

impl<'disk> Content<'disk> {
    pub(super) fn new(
        image: &'disk Path,
        reader: &'disk mut Reader<Cancellable<File>>,
        path: &[u8],
        inode: &FoundInode,
    ) -> Result<Self, ReadError> {
        let mut ranges = reader.data(inode)?;
        ranges.reverse();
        Ok(Self {
            image,
            path: path.to_vec(),
            reader,
            size: inode.size,
            mode: inode.mode,
            ranges,
            at: 0,
        })
    }

    /// Size in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size
    }

    /// Permission, setuid, setgid and sticky bits.
    #[must_use]
    pub fn mode(&self) -> u16 {
        self.mode
    }

    /// Writes what was not read yet to its place in an empty file. Holes and zeros become holes.
    pub(super) fn write_to(mut self, file: &mut File) -> io::Result<()> {
        file.set_len(self.size)?;
        let mut buffer = vec![0; CHUNK];
        while let Some(range) = self.ranges.last() {
            self.at = self.at.max(range.start);
            let len = self.read(&mut buffer)?;
            write_sparsely(file, self.at - len as u64, &buffer[..len])?;
            if len == 0 {
                break;
            }
        }
        Ok(())
    }

    fn failed(&self, error: ReadError) -> io::Error {
        let error: InspectError = at(self.image, &self.path, WalkError::Read(error));
        io::Error::other(error)
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self
            .ranges
            .last()
            .is_some_and(|range| range.start + range.len <= self.at)
        {
            self.ranges.pop();
        }
        let (is_data, end) = match self.ranges.last() {
            Some(range) if range.start <= self.at => (true, range.start + range.len),
            Some(range) => (false, range.start),
            None => (false, self.size),
        };
        let len = usize::try_from(end - self.at).map_or(buffer.len(), |len| len.min(buffer.len()));
        let part = &mut buffer[..len];
        match self.ranges.last() {
            Some(range) if is_data => {
                let skip = self.at - range.start;
                let read = self.reader.read_data(range, skip, part);
                read.map_err(|error| self.failed(error))?;
            }
            _ => part.fill(0),
        }
        self.at += len as u64;
        Ok(len)
    }
}
