//! Sparse files: the blocks that their data ranges touch, filled with zeros around the data.

use std::io::{self, Read};
use std::ops::Range;

use crate::error::FormatError;

/// Checks that ranges are ascending, disjoint and within a file of `len` bytes.
pub(super) fn check_ranges(ranges: &[Range<u64>], len: u64) -> Result<(), FormatError> {
    let mut last_end = 0;
    for range in ranges {
        if range.start < last_end || range.end < range.start || range.end > len {
            return Err(FormatError::InvalidRange {
                start: range.start,
                end: range.end,
                len,
            });
        }
        last_end = range.end;
    }
    Ok(())
}

/// Returns the whole blocks that contain data, as ascending ranges in bytes that are not adjacent.
pub(super) fn block_segments(ranges: &[Range<u64>], block_size: u64) -> Vec<Range<u64>> {
    let mut segments: Vec<Range<u64>> = Vec::new();
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        let (start, end) = (
            range.start / block_size * block_size,
            range.end.next_multiple_of(block_size),
        );
        match segments.last_mut() {
            Some(last) if start <= last.end => last.end = end,
            _ => segments.push(start..end),
        }
    }
    segments
}

/// Reads the bytes of a sparse file from a position: those of `content` within the ranges, zeros
/// between them.
pub(super) struct ZeroFilled<'ranges, R> {
    content: R,
    /// Ranges that have not been read to their ends.
    ranges: &'ranges [Range<u64>],
    position: u64,
}

impl<'ranges, R> ZeroFilled<'ranges, R> {
    pub(super) fn new(content: R, ranges: &'ranges [Range<u64>]) -> Self {
        Self {
            content,
            ranges,
            position: 0,
        }
    }

    /// Skips a hole.
    pub(super) fn seek(&mut self, position: u64) {
        self.position = position;
    }
}

impl<R: Read> Read for ZeroFilled<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let passed = self
            .ranges
            .iter()
            .take_while(|range| range.end <= self.position)
            .count();
        self.ranges = &self.ranges[passed..];
        let within = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(buffer.len());
        let read = match self.ranges.first() {
            Some(range) if range.start <= self.position => {
                let part = within(range.end - self.position);
                self.content.read(&mut buffer[..part])?
            }
            next => {
                let part = next.map_or(buffer.len(), |range| within(range.start - self.position));
                buffer[..part].fill(0);
                part
            }
        };
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_in_one_block_share_it_and_zeros_fill_the_rest() {
        let ranges = [10..12, 4000..4100, 9000..9000, 12_288..12_289];
        assert_eq!(block_segments(&ranges, 4096), [0..8192, 12_288..16_384]);
        let content: Vec<u8> = (1..=103).collect();
        let mut filled = ZeroFilled::new(&content[..], &ranges);
        let mut bytes = vec![0xFF; 8192];
        filled.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes[9..13], [0, 1, 2, 0]);
        assert_eq!(bytes[3999..4002], [0, 3, 4]);
        assert_eq!(bytes[4099..4101], [102, 0]);
        filled.seek(12_288);
        filled.read_exact(&mut bytes[..2]).unwrap();
        assert_eq!(bytes[..2], [103, 0]);
    }

    #[test]
    fn overlapping_ranges_and_ranges_beyond_the_end_are_refused() {
        let (apart, overlapping, beyond) = ([0..5, 5..9], [0..5, 4..9], [0..5, 5..10]);
        check_ranges(&apart, 9).unwrap();
        check_ranges(&overlapping, 9).unwrap_err();
        check_ranges(&beyond, 9).unwrap_err();
    }
}
