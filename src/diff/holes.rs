//! A file of the host that is read without its holes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use oci::next_data;

/// A file, and the last answer of the system about its holes.
pub(super) struct SparseFile {
    file: File,
    len: u64,
    /// The range of positions for which the answer is valid, and the next data after them.
    cached: Option<(Range<u64>, Range<u64>)>,
}

impl SparseFile {
    pub(super) fn new(mut file: File) -> io::Result<Self> {
        let len = file.seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            len,
            cached: None,
        })
    }

    /// Size of the file in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Returns the next range with data at or after `at`, or `None` if only holes follow.
    pub(super) fn next_data(&mut self, at: u64) -> io::Result<Option<Range<u64>>> {
        let answer = |data: &Range<u64>| (data.start < data.end).then(|| data.start.max(at)..data.end);
        if let Some((valid, data)) = &self.cached
            && valid.contains(&at)
        {
            return Ok(answer(data));
        }
        let data = next_data(&self.file, at)?.unwrap_or(u64::MAX..u64::MAX);
        let answer = answer(&data);
        self.cached = Some((at..data.end, data));
        Ok(answer)
    }

    /// Fills the buffer with the bytes at a position, and with zeros past the end of the file.
    pub(super) fn read_at(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let (read, behind) = buffer.split_at_mut(there.min(buffer.len()));
        behind.fill(0);
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(read)
    }
}
