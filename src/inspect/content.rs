//! The content of a file in a disk image, from its first byte to its last.

use std::fs::File;
use std::io::{self, Read};

use ext4::{DataRange, FoundInode, ReadError, Reader};

/// The content of a file in a disk image.
pub struct Content<'disk> {
    reader: &'disk mut Reader<File>,
    size: u64,
    mode: u16,
    /// What is not a hole, the last first.
    ranges: Vec<DataRange>,
    /// The next byte to read.
    at: u64,
}

impl<'disk> Content<'disk> {
    pub(super) fn new(reader: &'disk mut Reader<File>, inode: &FoundInode) -> Result<Self, ReadError> {
        let mut ranges = reader.data(inode)?;
        ranges.reverse();
        Ok(Self {
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
                self.reader.read_data(range, skip, part).map_err(io::Error::other)?;
            }
            _ => part.fill(0),
        }
        self.at += len as u64;
        Ok(len)
    }
}
