//! An image of which few bytes are written, and which may be read only so much.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

/// An input that is zeros but for what is written, and panics when more is read than it may be.
pub(crate) struct Sparse {
    /// Pieces by where they are.
    written: BTreeMap<u64, Vec<u8>>,
    len: u64,
    position: u64,
    left: u64,
}

impl Sparse {
    /// All of it is written.
    pub(crate) fn new(image: Vec<u8>, budget: u64) -> Self {
        let len = image.len() as u64;
        Self::of(BTreeMap::from([(0, image)]), len, budget)
    }

    pub(crate) fn of(written: BTreeMap<u64, Vec<u8>>, len: u64, budget: u64) -> Self {
        Self {
            written,
            len,
            position: 0,
            left: budget,
        }
    }
}

impl Read for Sparse {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.len.saturating_sub(self.position).min(buffer.len() as u64);
        let left = self.left.checked_sub(count);
        self.left = left.expect("no more is read than there is");
        let (start, end) = (self.position, self.position + count);
        let buffer = &mut buffer[..usize::try_from(count).expect("no longer than a buffer")];
        buffer.fill(0);
        for (&at, piece) in self.written.range(..end) {
            let (from, to) = (at.max(start), (at + piece.len() as u64).min(end));
            if from < to {
                let within = |base: u64| {
                    let [from, to] = [from, to].map(|at| usize::try_from(at - base).expect("in memory"));
                    from..to
                };
                buffer[within(start)].copy_from_slice(&piece[within(at)]);
            }
        }
        self.position = end;
        Ok(buffer.len())
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
