//! What is freed while content is still being written.

use std::collections::BTreeMap;
use std::mem;

use crate::units::{BlockNr, BlockRange};

/// Runs that are cleared together, so that what lies side by side is cleared at once.
const BATCH: usize = 1024;

/// Runs that were discards.
#[derive(Default)]
pub(crate) struct PendingDiscards {
    pending: Vec<BlockRange>,
    /// Where each run that was cleared begins, and where it ends.
    discarded: BTreeMap<BlockNr, BlockNr>,
}

impl PendingDiscards {
    /// Takes note of runs that were discards.
    pub(crate) fn add(&mut self, ranges: impl Iterator<Item = BlockRange>) {
        self.pending.extend(ranges);
    }

    /// The runs to be cleared now, merged; none as long as there are few.
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

    /// Whether a run was cleared at once. One that was cleared in parts may still take space: parts of a page give none back.
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
