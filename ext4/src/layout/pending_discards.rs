//! [`PendingDiscards`]: blocks that were freed while content is still being written.

use std::collections::BTreeMap;
use std::mem;

use crate::units::{BlockNr, BlockRange};

/// Number of ranges that are discarded together, so that adjacent ones are joined.
const BATCH: usize = 1024;

/// Freed block ranges that are still to be discarded, and those that were.
#[derive(Default)]
pub(crate) struct PendingDiscards {
    pending: Vec<BlockRange>,
    /// Start and end of each discarded range.
    discarded: BTreeMap<BlockNr, BlockNr>,
}

impl PendingDiscards {
    /// Adds freed ranges.
    pub(crate) fn add(&mut self, ranges: impl Iterator<Item = BlockRange>) {
        self.pending.extend(ranges);
    }

    /// Returns the ranges to discard now, joined and ascending; empty while fewer than [`BATCH`]
    /// are pending.
    pub(crate) fn take_batch(&mut self) -> Vec<BlockRange> {
        if self.pending.len() < BATCH {
            return Vec::new();
        }
        let mut ranges = mem::take(&mut self.pending);
        BlockRange::merge(&mut ranges);
        self.discarded
            .extend(ranges.iter().map(|range| (range.start, range.end())));
        ranges
    }

    /// Returns whether a range was discarded in one piece. If it was discarded in pieces, it may
    /// still occupy space, because discarding part of a page frees nothing.
    pub(crate) fn was_discarded(&self, range: BlockRange) -> bool {
        let before = self.discarded.range(..=range.start).next_back();
        before.is_some_and(|(_, &end)| end >= range.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, count: u64) -> BlockRange {
        BlockRange {
            start: BlockNr(start),
            count,
        }
    }

    #[test]
    fn many_ranges_are_discarded_together_and_merged() {
        let mut discards = PendingDiscards::default();
        let pairs = BATCH as u64 / 2;
        for number in (1..=pairs).rev() {
            assert_eq!(discards.take_batch(), []);
            discards.add([range(10 * number + 3, 2), range(10 * number, 3)].into_iter());
        }
        let merged: Vec<_> = (1..=pairs).map(|number| range(10 * number, 5)).collect();
        assert_eq!(discards.take_batch(), merged);
        assert_eq!(discards.take_batch(), []);
        assert!(discards.was_discarded(range(10, 5)) && discards.was_discarded(range(21, 3)));
        for other in [
            range(9, 2),
            range(10, 6),
            range(15, 1),
            range(1, 1),
            range(10 * pairs + 10, 1),
        ] {
            assert!(!discards.was_discarded(other), "{other:?}");
        }
    }
}
