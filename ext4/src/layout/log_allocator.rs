//! [`Cursor`]: blocks in ascending order, around the copies of the superblock.

use super::geometry::{Geometry, next_backup_group};
use crate::data::FileData;
use crate::units::{BlockNr, BlockRange};

/// Gives out blocks in ascending order and never gives one back.
///
/// Content is laid down like a log: a file is contiguous but where a copy of the superblock is in its way, and what is freed
/// is used again only by [moving](super::compact) what follows.
#[derive(Clone, Debug)]
pub(crate) struct LogAllocator {
    geometry: Geometry,
    next: BlockNr,
    /// The block after the last one given out.
    end: BlockNr,
    /// Start of the next copy of the superblock.
    next_backup: BlockNr,
    /// What [`Cursor::take_contiguous`] left out.
    skipped: Vec<BlockRange>,
}

impl LogAllocator {
    /// Before the first block that can hold content.
    pub(crate) fn new(geometry: Geometry) -> Self {
        let mut allocator = Self {
            geometry,
            next: geometry.group_start(0),
            end: geometry.backup_area(0).end(),
            next_backup: geometry.group_start(0),
            skipped: Vec::new(),
        };
        allocator.skip_backup_areas();
        allocator
    }

    /// The block after the last one that was given out.
    pub(crate) fn end(&self) -> BlockNr {
        self.end
    }

    /// Free blocks that were left out, ascending.
    pub(crate) fn skipped(&self) -> &[BlockRange] {
        &self.skipped
    }

    /// The next blocks, so many, wherever they are.
    pub(crate) fn allocate(&mut self, mut count: u64) -> Vec<BlockRange> {
        let mut ranges = Vec::new();
        while count > 0 {
            let range = self.allocate_part(count);
            count -= range.count;
            ranges.push(range);
        }
        ranges
    }

    /// The next blocks, up to but without the one at `end`.
    pub(crate) fn allocate_until(&mut self, end: BlockNr) -> Vec<BlockRange> {
        let mut ranges = Vec::new();
        while self.next < end {
            ranges.push(self.allocate_part(end.0 - self.next.0));
        }
        ranges
    }

    /// The next blocks, so many, for the content of an inode that fills them.
    pub(crate) fn allocate_data(&mut self, count: u64) -> FileData {
        let mut data = FileData::with_len(count << self.geometry.block_size.log2());
        let mut logical = 0;
        for range in self.allocate(count) {
            data.push_blocks(logical, range.start, range.count);
            logical += u32::try_from(range.count).expect("directories and journals are shorter than 2^32 blocks");
        }
        data
    }

    /// The next contiguous blocks: `count` of them, or as many as there are before a copy of the superblock; at least one.
    pub(crate) fn allocate_block(&mut self) -> BlockNr {
        self.allocate_part(1).start
    }

    pub(crate) fn allocate_part(&mut self, count: u64) -> BlockRange {
        let range = BlockRange {
            start: self.next,
            count: count.min(self.next_backup.0 - self.next.0),
        };
        self.next = range.end();
        self.end = range.end();
        self.skip_backup_areas();
        range
    }

    /// The next `count` blocks that are contiguous; those before a copy of the superblock that are too few are left out.
    ///
    /// # Panics
    ///
    /// If no two copies of the superblock are so far apart.
    pub(crate) fn allocate_contiguous(&mut self, count: u64) -> BlockRange {
        if self.next_backup.0 - self.next.0 < count {
            self.skipped.push(BlockRange {
                start: self.next,
                count: self.next_backup.0 - self.next.0,
            });
            self.next = self.next_backup;
            self.skip_backup_areas();
        }
        assert!(
            self.next_backup.0 - self.next.0 >= count,
            "nothing that must be contiguous is longer than half a group"
        );
        self.allocate_part(count)
    }

    fn skip_backup_areas(&mut self) {
        while self.next == self.next_backup {
            let group = self.geometry.group_of(self.next_backup);
            self.next = self.geometry.backup_area(group).end();
            self.next_backup = self.geometry.group_start(next_backup_group(group + 1));
        }
    }
}
