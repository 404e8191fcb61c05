//! [`Usage`]: which blocks nothing uses, group by group.

use super::Layout;
use super::geometry::{backup_groups, next_backup_group};
use crate::units::{BlockNr, BlockRange};

/// Free blocks of a file system.
pub(crate) struct FreeRanges {
    /// Ascending, and no two of them touch.
    ranges: Vec<BlockRange>,
}

impl FreeRanges {
    /// What is free: what was freed, what the layout left out, and all after its end.
    pub(crate) fn new(layout: &Layout, unused: &[BlockRange]) -> Self {
        let mut ranges: Vec<BlockRange> = unused.iter().chain(layout.allocator.skipped()).copied().collect();
        let content_end = layout.allocator.end();
        let geometry = &layout.geometry;
        for group in backup_groups(u64::from(layout.group_count)) {
            // Room for descriptors that are neither there nor reserved.
            let backup_area = geometry.backup_area(group);
            let used = layout.used_backup_area_blocks(group);
            ranges.push(BlockRange {
                start: backup_area.start + used,
                count: backup_area.count - used,
            });
            // All from the copy, or from the end of what is in use, to the next copy.
            let next = geometry.group_start(next_backup_group(group + 1));
            ranges.push(between(
                content_end.max(backup_area.end()),
                next.min(BlockNr(layout.block_count)),
            ));
        }
        ranges.retain(|range| range.count > 0);
        BlockRange::merge(&mut ranges);
        Self { ranges }
    }

    /// Free blocks within a run, ascending.
    pub(crate) fn within(&self, range: BlockRange) -> impl Iterator<Item = BlockRange> {
        let first = self.ranges.partition_point(|free| free.end() <= range.start);
        self.ranges[first..]
            .iter()
            .take_while(move |free| free.start < range.end())
            .map(move |free| between(free.start.max(range.start), free.end().min(range.end())))
    }
}

/// The blocks from one to before another, none if the other does not come after it.
fn between(start: BlockNr, end: BlockNr) -> BlockRange {
    BlockRange {
        start,
        count: end.0.saturating_sub(start.0),
    }
}
