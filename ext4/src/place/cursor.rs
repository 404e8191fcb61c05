//! [`Cursor`]: blocks in ascending order, around the copies of the superblock.

use super::geometry::{Geometry, next_copy};
use crate::data::FileData;
use crate::units::{BlockNr, BlockRange};

/// Gives out blocks in ascending order and never gives one back.
///
/// Content is laid down like a log: a file is contiguous but where a copy of the superblock is in its way, and what is freed
/// is used again only by [moving](super::compact) what follows.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    geometry: Geometry,
    next: BlockNr,
    /// The block after the last one given out.
    end: BlockNr,
    /// Start of the next copy of the superblock.
    obstacle: BlockNr,
    /// What [`Cursor::take_contiguous`] left out.
    gaps: Vec<BlockRange>,
}

impl Cursor {
    /// Before the first block that can hold content.
    pub(crate) fn new(geometry: Geometry) -> Self {
        let mut cursor = Self {
            geometry,
            next: geometry.group_start(0),
            end: geometry.head(0).end(),
            obstacle: geometry.group_start(0),
            gaps: Vec::new(),
        };
        cursor.skip_obstacle();
        cursor
    }

    /// The block after the last one that was given out.
    pub(crate) fn end(&self) -> BlockNr {
        self.end
    }

    /// Free blocks that were left out, ascending.
    pub(crate) fn gaps(&self) -> &[BlockRange] {
        &self.gaps
    }

    /// The next blocks, so many, wherever they are.
    pub(crate) fn take_all(&mut self, mut count: u64) -> Vec<BlockRange> {
        let mut runs = Vec::new();
        while count > 0 {
            let run = self.take(count);
            count -= run.count;
            runs.push(run);
        }
        runs
    }

    /// The next blocks, up to but without the one at `end`.
    pub(crate) fn take_until(&mut self, end: BlockNr) -> Vec<BlockRange> {
        let mut runs = Vec::new();
        while self.next < end {
            runs.push(self.take(end.0 - self.next.0));
        }
        runs
    }

    /// The next blocks, so many, for the content of an inode that fills them.
    pub(crate) fn take_data(&mut self, count: u64) -> FileData {
        let mut data = FileData::with_len(count << self.geometry.block_size.log2());
        let mut logical = 0;
        for run in self.take_all(count) {
            data.push(logical, run.start, run.count);
            logical += u32::try_from(run.count).expect("directories and journals are shorter than 2^32 blocks");
        }
        data
    }

    /// The next contiguous blocks: `count` of them, or as many as there are before a copy of the superblock; at least one.
    pub(crate) fn take(&mut self, count: u64) -> BlockRange {
        let run = BlockRange {
            start: self.next,
            count: count.min(self.obstacle.0 - self.next.0),
        };
        self.next = run.end();
        self.end = run.end();
        self.skip_obstacle();
        run
    }

    /// The next `count` blocks that are contiguous; those before a copy of the superblock that are too few are left out.
    ///
    /// # Panics
    ///
    /// If no two copies of the superblock are so far apart.
    pub(crate) fn take_contiguous(&mut self, count: u64) -> BlockRange {
        if self.obstacle.0 - self.next.0 < count {
            self.gaps.push(BlockRange {
                start: self.next,
                count: self.obstacle.0 - self.next.0,
            });
            self.next = self.obstacle;
            self.skip_obstacle();
        }
        assert!(
            self.obstacle.0 - self.next.0 >= count,
            "nothing that must be contiguous is longer than half a group"
        );
        self.take(count)
    }

    fn skip_obstacle(&mut self) {
        while self.next == self.obstacle {
            let group = self.geometry.group_of(self.obstacle);
            self.next = self.geometry.head(group).end();
            self.obstacle = self.geometry.group_start(next_copy(group + 1));
        }
    }
}
