//! Closing the gaps: content moves down over what was freed, in the order it has.
//!
//! The result is what it would have been had only the content that remains ever been written, so whether an image fits a
//! size does not depend on what passed through it.

use super::geometry::Geometry;
use super::log_allocator::LogAllocator;
use crate::data::FileData;
use crate::units::{BlockNr, BlockRange, Extent};

/// Contents in the order of their blocks; those without any are left out.
pub(crate) fn sort_by_block<'data>(contents: impl Iterator<Item = &'data mut FileData>) -> Vec<&'data mut FileData> {
    let mut contents: Vec<_> = contents.filter(|data| !data.extents().is_empty()).collect();
    contents.sort_unstable_by_key(|data| data.extents()[0].start);
    contents
}

/// Blocks before `end` that none of the contents has, ascending.
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

/// One move of contiguous blocks downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockMove {
    pub(crate) from: BlockRange,
    pub(crate) to: BlockRange,
}

/// Gives content the place that is the cursor's next, and says what has to be copied for that, in this order.
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

/// Extents that content would have at the place that is the cursor's next.
pub(crate) fn relocated_extent_count(data: &FileData, allocator: &mut LogAllocator) -> usize {
    let mut relocated = FileData::default();
    for &extent in data.extents() {
        for (part, to) in split_extent(extent, allocator) {
            relocated.push_blocks(part.logical, to.start, to.count);
        }
    }
    relocated.extents().len()
}

/// An extent cut where the cursor meets a copy of the superblock.
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
