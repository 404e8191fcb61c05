//! [`FreeRanges`]: the free blocks of a file system, from which the block bitmaps are made.

use super::Layout;
use super::geometry::{backup_groups, next_backup_group};
use crate::units::{BlockNr, BlockRange};

/// Free blocks of a file system.
pub(crate) struct FreeRanges {
    /// Ascending, disjoint and not adjacent.
    ranges: Vec<BlockRange>,
}

impl FreeRanges {
    /// Collects the blocks `unused` between content, those that the layout skipped, unused blocks
    /// in backup areas, and everything after the last block in use.
    pub(crate) fn new(layout: &Layout, unused: &[BlockRange]) -> Self {
        let mut ranges: Vec<BlockRange> = unused.iter().chain(layout.allocator.skipped()).copied().collect();
        let used_end = layout.allocator.end();
        let geometry = &layout.geometry;
        for group in backup_groups(u64::from(layout.group_count)) {
            // Blocks at the end of a backup area that are neither descriptors nor reserved.
            let backup_area = geometry.backup_area(group);
            let used = layout.used_backup_area_blocks(group);
            ranges.push(BlockRange {
                start: backup_area.start + used,
                count: backup_area.count - used,
            });
            // Everything from this backup area, or from the last block in use, to the next backup
            // area.
            let next = geometry.group_start(next_backup_group(group + 1));
            ranges.push(between(
                used_end.max(backup_area.end()),
                next.min(BlockNr(layout.block_count)),
            ));
        }
        ranges.retain(|range| range.count > 0);
        BlockRange::merge(&mut ranges);
        Self { ranges }
    }

    /// Free blocks within a range, ascending.
    pub(crate) fn within(&self, range: BlockRange) -> impl Iterator<Item = BlockRange> {
        let first = self.ranges.partition_point(|free| free.end() <= range.start);
        self.ranges[first..]
            .iter()
            .take_while(move |free| free.start < range.end())
            .map(move |free| between(free.start.max(range.start), free.end().min(range.end())))
    }
}

/// The blocks from `start` to before `end`; none if `end` is not after `start`.
fn between(start: BlockNr, end: BlockNr) -> BlockRange {
    BlockRange {
        start,
        count: end.0.saturating_sub(start.0),
    }
}
