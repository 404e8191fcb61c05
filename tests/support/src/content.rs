//! Generated contents of files, which differ at every offset and take no memory.

use std::io::{self, Read};
use std::ops::Range;

/// Content of a file: a pattern within its ranges, a hole elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub len: u64,
    /// Ascending and disjoint, in bytes.
    pub ranges: Vec<Range<u64>>,
    seed: u64,
}

impl Content {
    /// Content of `len` bytes without a hole.
    pub fn dense(seed: u64, len: u64) -> Self {
        Self {
            len,
            ranges: std::iter::once(0..len).filter(|range| !range.is_empty()).collect(),
            seed,
        }
    }

    /// Content of `len` bytes, with holes outside the ranges.
    pub fn sparse(seed: u64, len: u64, ranges: Vec<Range<u64>>) -> Self {
        Self { len, ranges, seed }
    }

    /// `count` extents of one block, each followed by a hole of one block.
    pub fn in_extents(seed: u64, count: u64, block_size: u64) -> Self {
        let ranges = (0..count)
            .map(|index| 2 * index * block_size..(2 * index + 1) * block_size)
            .collect();
        Self::sparse(seed, 2 * count * block_size, ranges)
    }

    /// Returns whether any byte is outside the ranges.
    pub fn has_holes(&self) -> bool {
        self.len > self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// Fills a buffer with the bytes at an offset.
    pub fn fill(&self, offset: u64, bytes: &mut [u8]) {
        bytes.fill(0);
        let end = offset + bytes.len() as u64;
        let first = self.ranges.partition_point(|range| range.end <= offset);
        for range in self.ranges[first..].iter().take_while(|range| range.start < end) {
            let part = range.start.max(offset)..range.end.min(end);
            let within = usize::try_from(part.start - offset).unwrap()..usize::try_from(part.end - offset).unwrap();
            let mut at = part.start;
            let mut rest = &mut bytes[within];
            while !rest.is_empty() {
                let skip = usize::try_from(at % 8).unwrap();
                let len = rest.len().min(8 - skip);
                rest[..len].copy_from_slice(&self.word(at / 8)[skip..skip + len]);
                rest = &mut rest[len..];
                at += len as u64;
            }
        }
    }

    /// Returns all bytes, for files that fit into memory.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap()];
        self.fill(0, &mut bytes);
        bytes
    }

    /// Returns a reader of the ranges' bytes, one range after the other, without the holes.
    pub fn reader(&self) -> impl Read {
        Reader {
            content: self,
            rest: self.ranges.iter().filter(|range| !range.is_empty()).cloned().collect(),
        }
    }

    /// Returns eight bytes. None is zero, so that data differs from a hole.
    fn word(&self, index: u64) -> [u8; 8] {
        let word = (index + 1).wrapping_mul(self.seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15));
        (word ^ (word >> 29) | 0x0101_0101_0101_0101).to_le_bytes()
    }
}

struct Reader<'content> {
    content: &'content Content,
    rest: std::collections::VecDeque<Range<u64>>,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(range) = self.rest.front_mut() else {
            return Ok(0);
        };
        let len = buffer
            .len()
            .min(usize::try_from(range.end - range.start).unwrap_or(usize::MAX));
        self.content.fill(range.start, &mut buffer[..len]);
        range.start += len as u64;
        if range.is_empty() {
            self.rest.pop_front();
        }
        Ok(len)
    }
}
