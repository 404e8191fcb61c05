//! A file whose holes are known, so that nobody reads them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use oci::next_data;

/// A file, and what was last learnt of its holes.
pub(super) struct Holes {
    file: File,
    len: u64,
    /// Where the answer holds, and the answer: the data that comes next.
    known: Option<(Range<u64>, Range<u64>)>,
}

impl Holes {
    pub(super) fn new(mut file: File) -> io::Result<Self> {
        let len = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, len, known: None })
    }

    /// Size of the file in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Where the file has bytes next, from `at` on; none if there are only holes until its end.
    pub(super) fn next_data(&mut self, at: u64) -> io::Result<Option<Range<u64>>> {
        let answer = |data: &Range<u64>| (data.start < data.end).then(|| data.start.max(at)..data.end);
        if let Some((valid, data)) = &self.known
            && valid.contains(&at)
        {
            return Ok(answer(data));
        }
        let data = next_data(&self.file, at)?.unwrap_or(u64::MAX..u64::MAX);
        let answer = answer(&data);
        self.known = Some((at..data.end, data));
        Ok(answer)
    }

    /// Fills the buffer from a position on, with zeros behind the end.
    pub(super) fn read_at(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let (read, behind) = buffer.split_at_mut(there.min(buffer.len()));
        behind.fill(0);
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(read)
    }
}
