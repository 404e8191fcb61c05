//! Closing the gaps: content moves down over what was freed, in the order it has.
//!
//! The result is what it would have been had only the content that remains ever been written, so whether an image fits a
//! size does not depend on what passed through it.

use super::cursor::Cursor;
use super::geometry::Geometry;
use crate::data::FileData;
use crate::units::{BlockNr, BlockRange, Extent};

/// Contents in the order of their blocks; those without any are left out.
pub(crate) fn in_order<'data>(contents: impl Iterator<Item = &'data mut FileData>) -> Vec<&'data mut FileData> {
    let mut contents: Vec<_> = contents.filter(|data| !data.extents().is_empty()).collect();
    contents.sort_unstable_by_key(|data| data.extents()[0].start);
    contents
}

/// Blocks before `end` that none of the contents has, ascending.
pub(crate) fn gaps(contents: &[&mut FileData], geometry: Geometry, end: BlockNr) -> Vec<BlockRange> {
    let mut cursor = Cursor::new(geometry);
    let mut gaps = Vec::new();
    for extent in contents.iter().flat_map(|data| data.extents()) {
        gaps.extend(cursor.take_until(extent.start));
        cursor.take(u64::from(extent.count));
    }
    gaps.extend(cursor.take_until(end));
    gaps
}

/// One move of contiguous blocks downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) from: BlockRange,
    pub(crate) to: BlockRange,
}

/// Gives content the place that is the cursor's next, and says what has to be copied for that, in this order.
pub(crate) fn place(data: &mut FileData, cursor: &mut Cursor) -> Vec<Move> {
    let mut moves = Vec::new();
    for extent in data.take_extents() {
        for (part, to) in parts(extent, cursor) {
            data.push(part.logical, to.start, to.count);
            moves.push(Move { from: part.range(), to });
        }
    }
    moves
}

/// Extents that content would have at the place that is the cursor's next.
pub(crate) fn extent_count(data: &FileData, cursor: &mut Cursor) -> usize {
    let mut placed = FileData::default();
    for &extent in data.extents() {
        for (part, to) in parts(extent, cursor) {
            placed.push(part.logical, to.start, to.count);
        }
    }
    placed.extents().len()
}

/// An extent cut where the cursor meets a copy of the superblock.
fn parts(mut extent: Extent, cursor: &mut Cursor) -> Vec<(Extent, BlockRange)> {
    cursor
        .take_all(u64::from(extent.count))
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
