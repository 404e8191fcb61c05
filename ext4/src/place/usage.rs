//! [`Usage`]: which blocks nothing uses, group by group.

use super::geometry::{copies, next_copy};
use super::layout::Layout;
use crate::units::{BlockNr, BlockRange};

/// Free blocks of a file system.
pub(crate) struct Usage {
    /// Ascending, and no two of them touch.
    free: Vec<BlockRange>,
}

impl Usage {
    /// What is free: what was freed, what the layout left out, and all after its end.
    pub(crate) fn new(layout: &Layout, freed: &[BlockRange]) -> Self {
        let mut free: Vec<BlockRange> = freed.iter().chain(layout.end.gaps()).copied().collect();
        let end = layout.end.end();
        let geometry = &layout.geometry;
        for group in copies(u64::from(layout.group_count)) {
            // Room for descriptors that are neither there nor reserved.
            let head = geometry.head(group);
            let used = layout.head_blocks(group);
            free.push(BlockRange {
                start: head.start + used,
                count: head.count - used,
            });
            // All from the copy, or from the end of what is in use, to the next copy.
            let next = geometry.group_start(next_copy(group + 1));
            free.push(between(end.max(head.end()), next.min(BlockNr(layout.block_count))));
        }
        free.retain(|run| run.count > 0);
        BlockRange::merge(&mut free);
        Self { free }
    }

    /// Free blocks within a run, ascending.
    pub(crate) fn free_in(&self, run: BlockRange) -> impl Iterator<Item = BlockRange> {
        let first = self.free.partition_point(|free| free.end() <= run.start);
        self.free[first..]
            .iter()
            .take_while(move |free| free.start < run.end())
            .map(move |free| between(free.start.max(run.start), free.end().min(run.end())))
    }
}

/// The blocks from one to before another, none if the other does not come after it.
fn between(start: BlockNr, end: BlockNr) -> BlockRange {
    BlockRange {
        start,
        count: end.0.saturating_sub(start.0),
    }
}
