//! [`LogAllocator`]: allocates blocks in ascending order, around the backup areas.

use super::geometry::{Geometry, next_backup_group};
use crate::data::FileData;
use crate::units::{BlockNr, BlockRange};

/// Allocates blocks in ascending order, and never frees one.
///
/// Content is written like a log: a file is contiguous except where a backup area is in its way.
/// Freed blocks are reused only by [compaction](super::compact), which moves the content that
/// follows.
#[derive(Clone, Debug)]
pub(crate) struct LogAllocator {
    geometry: Geometry,
    next: BlockNr,
    /// The block after the last allocated one.
    end: BlockNr,
    /// Start of the next backup area.
    next_backup: BlockNr,
    /// Blocks that [`LogAllocator::allocate_contiguous`] has skipped, ascending.
    skipped: Vec<BlockRange>,
}

impl LogAllocator {
    /// Creates an allocator that starts at the first block that can hold content.
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

    /// Returns the block after the last allocated one.
    pub(crate) fn end(&self) -> BlockNr {
        self.end
    }

    /// Returns the free blocks that were skipped because a contiguous allocation did not fit,
    /// ascending.
    pub(crate) fn skipped(&self) -> &[BlockRange] {
        &self.skipped
    }

    /// Allocates the next `count` blocks, in several ranges where backup areas separate them.
    pub(crate) fn allocate(&mut self, mut count: u64) -> Vec<BlockRange> {
        let mut ranges = Vec::new();
        while count > 0 {
            let range = self.allocate_part(count);
            count -= range.count;
            ranges.push(range);
        }
        ranges
    }

    /// Allocates all blocks before `end`.
    pub(crate) fn allocate_until(&mut self, end: BlockNr) -> Vec<BlockRange> {
        let mut ranges = Vec::new();
        while self.next < end {
            ranges.push(self.allocate_part(end.0 - self.next.0));
        }
        ranges
    }

    /// Allocates the next `count` blocks as the content of an inode that fills them.
    pub(crate) fn allocate_data(&mut self, count: u64) -> FileData {
        let mut data = FileData::with_len(count << self.geometry.block_size.log2());
        let mut logical = 0;
        for range in self.allocate(count) {
            data.push_blocks(logical, range.start, range.count);
            logical += u32::try_from(range.count).expect("directories and journals are shorter than 2^32 blocks");
        }
        data
    }

    /// Allocates the next block.
    pub(crate) fn allocate_block(&mut self) -> BlockNr {
        self.allocate_part(1).start
    }

    /// Allocates the next contiguous blocks: `count`, or fewer if a backup area follows; at least
    /// one.
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

    /// Allocates the next `count` blocks that are contiguous, and skips blocks before a backup
    /// area if they are too few.
    ///
    /// # Panics
    ///
    /// If no two backup areas are that far apart.
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

    /// Moves `next` past the backup areas that start there.
    fn skip_backup_areas(&mut self) {
        while self.next == self.next_backup {
            let group = self.geometry.group_of(self.next_backup);
            self.next = self.geometry.backup_area(group).end();
            self.next_backup = self.geometry.group_start(next_backup_group(group + 1));
        }
    }
}
