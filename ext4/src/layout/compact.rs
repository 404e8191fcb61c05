//! Compaction: moves content down over freed blocks, in its order.
//!
//! The result is the layout that results from writing only the remaining content. So whether an
//! image fits a size does not depend on content that was written and freed before.

use super::geometry::Geometry;
use super::log_allocator::LogAllocator;
use crate::data::FileData;
use crate::units::{BlockNr, BlockRange, Extent};

/// Sorts contents by their first blocks, and leaves out those without blocks.
pub(crate) fn sort_by_block<'data>(contents: impl Iterator<Item = &'data mut FileData>) -> Vec<&'data mut FileData> {
    let mut contents: Vec<_> = contents.filter(|data| !data.extents().is_empty()).collect();
    contents.sort_unstable_by_key(|data| data.extents()[0].start);
    contents
}

/// Blocks before `end` that no content occupies, ascending. `contents` must be sorted.
pub(crate) fn gaps(contents: &[&mut FileData], geometry: Geometry, end: BlockNr) -> Vec<BlockRange> {
    let mut allocator = LogAllocator::new(geometry);
    let mut gaps = Vec::new();
    for extent in contents.iter().flat_map(|data| data.extents()) {
        gaps.extend(allocator.allocate_until(extent.start));
        allocator.allocate_part(u64::from(extent.count));
    }
    gaps.extend(allocator.allocate_until(end));
    gaps
}

/// Contiguous blocks, and the lower block numbers that they move to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockMove {
    pub(crate) from: BlockRange,
    pub(crate) to: BlockRange,
}

/// Allocates other blocks for content, and returns the moves of its blocks, to be performed in
/// this order.
pub(crate) fn relocate(data: &mut FileData, allocator: &mut LogAllocator) -> Vec<BlockMove> {
    let mut moves = Vec::new();
    for extent in data.take_extents() {
        for (part, to) in split_extent(extent, allocator) {
            data.push_blocks(part.logical, to.start, to.count);
            moves.push(BlockMove { from: part.range(), to });
        }
    }
    moves
}

/// Number of extents that content would have after [`relocate`].
pub(crate) fn relocated_extent_count(data: &FileData, allocator: &mut LogAllocator) -> usize {
    let mut relocated = FileData::default();
    for &extent in data.extents() {
        for (part, to) in split_extent(extent, allocator) {
            relocated.push_blocks(part.logical, to.start, to.count);
        }
    }
    relocated.extents().len()
}

/// Allocates blocks for an extent, and splits it where the allocator skips a backup area.
fn split_extent(mut extent: Extent, allocator: &mut LogAllocator) -> Vec<(Extent, BlockRange)> {
    allocator
        .allocate(u64::from(extent.count))
        .into_iter()
        .map(|to| {
            let count = u32::try_from(to.count).expect("part of an extent");
            let part = Extent { count, ..extent };
            extent = Extent {
                start: extent.start + to.count,
                logical: extent.logical + count,
                count: extent.count - count,
            };
            (part, to)
        })
        .collect()
}
