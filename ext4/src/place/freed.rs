//! What is freed while content is still being written.

use std::collections::BTreeMap;
use std::mem;

use crate::units::{BlockNr, BlockRange};

/// Runs that are cleared together, so that what lies side by side is cleared at once.
const BATCH: usize = 1024;

/// Runs that were freed.
#[derive(Default)]
pub(crate) struct Freed {
    waiting: Vec<BlockRange>,
    /// Where each run that was cleared begins, and where it ends.
    cleared: BTreeMap<BlockNr, BlockNr>,
}

impl Freed {
    /// Takes note of runs that were freed.
    pub(crate) fn add(&mut self, runs: impl Iterator<Item = BlockRange>) {
        self.waiting.extend(runs);
    }

    /// The runs to be cleared now, merged; none as long as there are few.
    pub(crate) fn batch(&mut self) -> Vec<BlockRange> {
        if self.waiting.len() < BATCH {
            return Vec::new();
        }
        let mut runs = mem::take(&mut self.waiting);
        BlockRange::merge(&mut runs);
        self.cleared.extend(runs.iter().map(|run| (run.start, run.end())));
        runs
    }

    /// Whether a run was cleared at once. One that was cleared in parts may still take space: parts of a page give none back.
    pub(crate) fn was_cleared(&self, run: BlockRange) -> bool {
        let before = self.cleared.range(..=run.start).next_back();
        before.is_some_and(|(_, &end)| end >= run.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: u64, count: u64) -> BlockRange {
        BlockRange {
            start: BlockNr(start),
            count,
        }
    }

    #[test]
    fn many_are_cleared_together_and_merged() {
        let mut freed = Freed::default();
        let pairs = BATCH as u64 / 2;
        for number in (1..=pairs).rev() {
            assert_eq!(freed.batch(), []);
            freed.add([run(10 * number + 3, 2), run(10 * number, 3)].into_iter());
        }
        let merged: Vec<_> = (1..=pairs).map(|number| run(10 * number, 5)).collect();
        assert_eq!(freed.batch(), merged);
        assert_eq!(freed.batch(), []);
        assert!(freed.was_cleared(run(10, 5)) && freed.was_cleared(run(21, 3)));
        for other in [run(9, 2), run(10, 6), run(15, 1), run(1, 1), run(10 * pairs + 10, 1)] {
            assert!(!freed.was_cleared(other), "{other:?}");
        }
    }
}
