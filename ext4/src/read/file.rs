//! [`File`]: the content of a file in an image.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::{Deref, Range};

use super::{DataRange, Inode, ReadError, Reader};
use crate::file_type::FileType;
use crate::read_at::ReadAt;

/// Regular file of an image, open for reading. Holes read as zeros.
///
/// Any number of files can be open at once: `T` is a shared reference to the [`Reader`], or an
/// [`Arc`](std::sync::Arc) or [`Rc`](std::rc::Rc) of one. If the image cannot be read, the
/// [`io::Error`] holds a [`ReadError`].
pub struct File<T> {
    reader: T,
    inode: Inode,
    ranges: Vec<DataRange>,
    position: u64,
}

impl<R: ReadAt> Reader<R> {
    /// Opens a regular file by its inode.
    ///
    /// # Errors
    ///
    /// [`ReadError::Inode`] if it is not a regular file or its extent tree or block map is
    /// damaged, [`ReadError::Checksum`] and [`ReadError::Input`].
    pub fn open_inode(&self, inode: &Inode) -> Result<File<&Self>, ReadError> {
        File::new(self, inode)
    }
}

impl<R: ReadAt, T: Deref<Target = Reader<R>>> File<T> {
    /// Opens a regular file by its inode, with a reader that is shared in any way.
    ///
    /// # Errors
    ///
    /// As [`Reader::open_inode`].
    pub fn new(reader: T, inode: &Inode) -> Result<Self, ReadError> {
        if inode.file_type != FileType::RegularFile {
            return Err(inode.damaged("it is not a regular file"));
        }
        Ok(Self {
            ranges: reader.data(inode)?,
            reader,
            inode: inode.clone(),
            position: 0,
        })
    }

    /// Returns the inode.
    #[must_use]
    pub fn inode(&self) -> &Inode {
        &self.inode
    }

    /// Returns the ranges that have data, in ascending order. The bytes between two ranges are
    /// zeros.
    #[must_use]
    pub fn data(&self) -> &[DataRange] {
        &self.ranges
    }

    /// Returns the first range at or after an offset that has data, without the bytes before the
    /// offset. Returns `None` if only a hole follows.
    #[must_use]
    pub fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        let next = self.ranges.partition_point(|range| range.end() <= offset);
        let range = self.ranges.get(next)?;
        Some(range.start.max(offset)..range.end())
    }

    /// Fills the buffer from an offset on, and returns the number of bytes. It is less than the
    /// length of the buffer only at the end of the file.
    ///
    /// # Errors
    ///
    /// [`ReadError::Input`].
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, ReadError> {
        let left = self.inode.size.saturating_sub(offset);
        let len = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let data = self.next_data(at).unwrap_or(u64::MAX..u64::MAX);
            let skipped = usize::try_from(data.start - at).map_or(len, |hole| len.min(done + hole));
            buffer[done..skipped].fill(0);
            let end = usize::try_from(data.end - at).map_or(len, |end| len.min(done + end));
            if skipped < end {
                let index = self.ranges.partition_point(|range| range.end() <= data.start);
                let range = &self.ranges[index];
                let part = &mut buffer[skipped..end];
                self.reader.read_data(range, data.start - range.start, part)?;
            }
            done = end.max(skipped);
        }
        Ok(len)
    }
}

impl<R: ReadAt, T: Deref<Target = Reader<R>>> Read for File<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.read_at(buffer, self.position)?;
        self.position += len as u64;
        Ok(len)
    }
}

impl<R: ReadAt, T: Deref<Target = Reader<R>>> Seek for File<T> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(by) => self.inode.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl<R: ReadAt, T: Deref<Target = Reader<R>>> ReadAt for File<T> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read_at(buffer, offset)? < buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.inode.size)
    }
}

impl<T> fmt::Debug for File<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("ino", &self.inode.ino)
            .field("size", &self.inode.size)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
