//! [`Layout`]: the block numbers of the journal, bitmaps and inode tables, which follow the
//! content, for one size of the file system. This module computes numbers only; it does no I/O.
//!
//! `geometry` is what is fixed before the first byte of content, `log_allocator` allocates blocks,
//! `compact` moves content over freed blocks, `size` finds the smallest size, and `free_ranges`
//! derives the block bitmaps. The front page of the crate shows the order of everything in an
//! image.

pub(crate) mod compact;
pub(crate) mod free_ranges;
pub(crate) mod geometry;
pub(crate) mod inode_numbers;
pub(crate) mod log_allocator;
pub(crate) mod pending_discards;
pub(crate) mod size;

use self::geometry::{Geometry, backup_groups};
use self::log_allocator::LogAllocator;
use crate::data::FileData;
use crate::disk::extent::node_blocks;
use crate::disk::inode;
use crate::disk::journal::MIN_BLOCKS;
use crate::options::{Inodes, Journal, Options};
use crate::units::{BlockNr, BlockRange, Ino};

/// Maximum length of a journal in blocks (mke2fs: 10,240,000).
const MAX_JOURNAL_BLOCKS: u64 = 10_240_000;

/// Binary logarithm of the number of groups whose bitmaps and inode tables are adjacent, and which
/// the kernel's allocator treats as one unit (`s_log_groups_per_flex`). The value is that of
/// mke2fs.
pub(crate) const LOG_GROUPS_PER_FLEX: u8 = 4;

/// Inodes and blocks that a file system must provide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requirements {
    /// Number of inodes, including the reserved ones.
    pub(crate) inode_count: u32,
    /// Minimum number of free inodes.
    pub(crate) free_inode_count: u32,
    /// Number of blocks of the content, of its extent nodes, and of attribute blocks.
    pub(crate) content_blocks: u64,
    /// Minimum number of free blocks.
    pub(crate) free_blocks: u64,
}

/// Block numbers and counts of everything except the content.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) geometry: Geometry,
    /// Size in bytes. A remainder at its end that is too small for a group is not used.
    pub(crate) bytes: u64,
    /// Blocks of the file system. With blocks of 1 KiB, this includes block 0, the boot area.
    pub(crate) block_count: u64,
    pub(crate) group_count: u32,
    pub(crate) inodes_per_group: u32,
    /// Blocks of group descriptors after each superblock.
    pub(crate) descriptor_blocks: u64,
    /// Blocks reserved after the group descriptors, which the resize inode owns.
    pub(crate) reserved_descriptor_blocks: u64,
    /// Block bitmap of each group.
    pub(crate) block_bitmaps: Vec<BlockNr>,
    /// Inode bitmap of each group.
    pub(crate) inode_bitmaps: Vec<BlockNr>,
    /// First block of the inode table of each group.
    pub(crate) inode_tables: Vec<BlockNr>,
    /// The double-indirect block of the resize inode, which lists the reserved descriptor blocks.
    pub(crate) resize_map: Option<BlockNr>,
    /// Blocks of the journal, as the content of its inode.
    pub(crate) journal: Option<FileData>,
    /// Blocks of the journal's extent tree.
    pub(crate) journal_nodes: Vec<BlockNr>,
    /// The allocator after everything in use was allocated.
    pub(crate) allocator: LogAllocator,
    /// Number of unused blocks.
    pub(crate) free_blocks: u64,
}

/// The content does not fit in a size, which is at least this number of blocks too small.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DoesNotFit {
    pub(crate) missing_blocks: u64,
}

/// Position of an inode in the inode tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InodeLocation {
    pub(crate) group: usize,
    pub(crate) block: BlockNr,
    /// Offset in bytes from the start of the block.
    pub(crate) offset: u64,
}

impl Layout {
    /// Lays out a file system of `bytes` bytes, after the blocks that `allocator` has allocated.
    pub(crate) fn compute(
        options: &Options,
        geometry: Geometry,
        bytes: u64,
        mut allocator: LogAllocator,
        requirements: Requirements,
    ) -> Result<Self, DoesNotFit> {
        let block_count = usable_blocks(&geometry, bytes >> geometry.block_size.log2());
        let groups = geometry.group_count(block_count);
        let does_not_fit = |blocks: u64| DoesNotFit {
            missing_blocks: blocks.saturating_sub(block_count).max(1),
        };
        if block_count < geometry.backup_area(0).end().0 {
            return Err(does_not_fit(geometry.backup_area(0).end().0));
        }

        let max_inodes = groups * u64::from(geometry.max_inodes_per_group());
        let requested_inodes = inode_count(options, bytes, max_inodes, requirements);
        let step = u64::from(geometry.inodes_per_block().max(8));
        // All groups have the same number of inodes, and their total must fit in 32 bits.
        let max_per_group = u64::from(u32::MAX) / groups / step * step;
        let inodes_per_group = requested_inodes
            .div_ceil(groups)
            .next_multiple_of(step)
            .min(max_per_group);
        if groups * inodes_per_group < u64::from(requirements.inode_count) {
            return Err(does_not_fit(u64::MAX));
        }
        if inodes_per_group > u64::from(geometry.max_inodes_per_group()) {
            let groups = requested_inodes.div_ceil(u64::from(geometry.max_inodes_per_group()));
            return Err(does_not_fit(
                (groups - 1) * geometry.blocks_per_group() + geometry.first_data_block() + 1,
            ));
        }
        let inodes_per_group = u32::try_from(inodes_per_group).expect("below the largest number of inodes in a group");
        let table_blocks = u64::from(inodes_per_group / geometry.inodes_per_block());
        let descriptor_blocks = groups.div_ceil(geometry.descriptors_per_block());
        // The resize inode stores block numbers in 32 bits.
        let can_grow = options.growth && block_count <= 1 << 32;
        let reserved_descriptor_blocks = if can_grow {
            geometry.max_descriptor_blocks - descriptor_blocks
        } else {
            0
        };
        let journal_blocks = journal_blocks(options, block_count);
        let resize_map_blocks = u64::from(reserved_descriptor_blocks > 0);

        let backup_area_blocks =
            backup_groups(groups).count() as u64 * (1 + descriptor_blocks + reserved_descriptor_blocks);
        let used = geometry.first_data_block()
            + backup_area_blocks
            + requirements.content_blocks
            + groups * (2 + table_blocks)
            + journal_blocks
            + resize_map_blocks;
        // Checked before blocks are allocated: the lists of bitmaps and inode tables would take
        // memory for every group of a size that cannot fit.
        if used + requirements.free_blocks > block_count {
            return Err(does_not_fit(used + requirements.free_blocks));
        }

        let resize_map = (resize_map_blocks > 0).then(|| allocator.allocate_block());
        let journal = (journal_blocks > 0).then(|| allocator.allocate_data(journal_blocks));
        let journal_nodes = journal
            .as_ref()
            .map_or(0, |data| node_blocks(data.extents().len(), geometry.block_size));
        let used = used + journal_nodes;
        if used + requirements.free_blocks > block_count {
            return Err(does_not_fit(used + requirements.free_blocks));
        }
        let journal_nodes = (0..journal_nodes).map(|_| allocator.allocate_block()).collect();
        let (mut block_bitmaps, mut inode_bitmaps, mut inode_tables) = (Vec::new(), Vec::new(), Vec::new());
        // resize2fs does not reuse the blocks of the tables of groups that it removes
        // (`free_gdp_blocks`). So the tables come last, ordered by group: then nothing has to move
        // to such blocks.
        for first in (0..groups).step_by(1 << LOG_GROUPS_PER_FLEX) {
            let count = (groups - first).min(1 << LOG_GROUPS_PER_FLEX);
            block_bitmaps.extend((0..count).map(|_| allocator.allocate_block()));
            inode_bitmaps.extend((0..count).map(|_| allocator.allocate_block()));
            inode_tables.extend((0..count).map(|_| allocator.allocate_contiguous(table_blocks).start));
        }
        if allocator.end().0 > block_count {
            return Err(does_not_fit(allocator.end().0));
        }
        Ok(Self {
            geometry,
            bytes,
            block_count,
            group_count: u32::try_from(groups).expect("the descriptor blocks limit the number of groups"),
            inodes_per_group,
            descriptor_blocks,
            reserved_descriptor_blocks,
            block_bitmaps,
            inode_bitmaps,
            inode_tables,
            resize_map,
            journal,
            journal_nodes,
            allocator,
            free_blocks: block_count - used,
        })
    }

    /// Number of inodes of the file system.
    pub(crate) fn inode_count(&self) -> u32 {
        self.group_count * self.inodes_per_group
    }

    /// Returns the position of an inode in the inode tables.
    pub(crate) fn inode_location(&self, ino: Ino) -> InodeLocation {
        let index = ino.get() - 1;
        let group = (index / self.inodes_per_group) as usize;
        let inodes_per_block = self.geometry.inodes_per_block();
        let index = index % self.inodes_per_group;
        InodeLocation {
            group,
            block: self.inode_tables[group] + u64::from(index / inodes_per_block),
            offset: u64::from(index % inodes_per_block * u32::from(inode::SIZE)),
        }
    }

    /// Blocks of a group; the last group may have fewer.
    pub(crate) fn group_blocks(&self, group: u64) -> BlockRange {
        let start = self.geometry.group_start(group);
        BlockRange {
            start,
            count: self.geometry.blocks_per_group().min(self.block_count - start.0),
        }
    }

    /// Number of blocks in use at the start of a group: the superblock or its backup, group
    /// descriptors and reserved descriptor blocks.
    pub(crate) fn used_backup_area_blocks(&self, group: u64) -> u64 {
        match self.geometry.backup_area(group).count {
            0 => 0,
            _ => 1 + self.descriptor_blocks + self.reserved_descriptor_blocks,
        }
    }
}

/// Number of blocks that a file system uses out of `blocks`: a last group that has room for no
/// more than its backup area is left out.
fn usable_blocks(geometry: &Geometry, blocks: u64) -> u64 {
    let Some(last) = geometry.group_count(blocks).checked_sub(1) else {
        return blocks;
    };
    let backup_area = geometry.backup_area(last);
    if last > 0 && blocks <= backup_area.end().0 {
        backup_area.start.0
    } else {
        blocks
    }
}

/// Number of inodes that the options request and the content needs. A ratio is capped at `max`,
/// the most that the groups can hold.
fn inode_count(options: &Options, bytes: u64, max: u64, requirements: Requirements) -> u64 {
    let needed = u64::from(requirements.inode_count) + u64::from(requirements.free_inode_count);
    let count = match options.inodes {
        Inodes::PerBytes(ratio) => (bytes / u64::from(ratio.max(1))).min(max).max(needed),
        Inodes::AtLeast(count) => needed.max(u64::from(count)),
    };
    count.min(u64::from(u32::MAX))
}

/// Number of blocks of the journal. `Journal::Auto` follows the table of mke2fs
/// (`ext2fs_default_journal_size`).
fn journal_blocks(options: &Options, block_count: u64) -> u64 {
    const K: u64 = 1024;
    match options.journal {
        Journal::None => 0,
        Journal::Bytes(bytes) => options
            .block_size
            .blocks(bytes)
            .clamp(MIN_BLOCKS.into(), MAX_JOURNAL_BLOCKS),
        Journal::Auto => match block_count {
            0..2_048 => 0,
            2_048..32_768 => K,
            32_768..262_144 => 4 * K,
            262_144..524_288 => 8 * K,
            524_288..4_194_304 => 16 * K,
            4_194_304..8_388_608 => 32 * K,
            8_388_608..16_777_216 => 64 * K,
            16_777_216..33_554_432 => 128 * K,
            _ => 256 * K,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Size;
    use crate::units::BlockSize;

    const TIB: u64 = 1 << 40;

    /// Returns the number of inodes of an empty file system of `bytes` bytes, or how many blocks
    /// are missing.
    fn inode_count_of(block_size: BlockSize, bytes: u64, inodes: Inodes, inode_count: u32) -> Result<u64, DoesNotFit> {
        let options = Options {
            size: Size::Fixed(bytes),
            block_size,
            growth: false,
            inodes,
            ..Options::new([7; 16])
        };
        let geometry = Geometry::new(&options);
        let requirements = Requirements {
            inode_count,
            free_inode_count: 0,
            content_blocks: 0,
            free_blocks: 0,
        };
        let layout = Layout::compute(&options, geometry, bytes, LogAllocator::new(geometry), requirements)?;
        assert_eq!(
            u64::from(layout.inode_count()),
            u64::from(layout.group_count) * u64::from(layout.inodes_per_group)
        );
        assert!(
            layout
                .inodes_per_group
                .is_multiple_of(geometry.inodes_per_block().max(8))
        );
        Ok(layout.inode_count().into())
    }

    #[test]
    fn inode_counts_fit_in_32_bits() {
        for (block_size, bytes) in [
            (BlockSize::Kib4, 64 * TIB),
            (BlockSize::Kib4, 64 * TIB - 4096),
            (BlockSize::Kib4, 100 * TIB),
            (BlockSize::Kib64, 256 * TIB),
            (BlockSize::Kib64, 1000 * TIB),
        ] {
            for requested in [Inodes::default(), Inodes::PerBytes(1), Inodes::AtLeast(u32::MAX)] {
                let count = inode_count_of(block_size, bytes, requested, 11).expect("it fits");
                // Close to the maximum: groups of equal size cannot reach it exactly.
                assert!(
                    count > u64::from(u32::MAX) / 100 * 99,
                    "{bytes} bytes, {requested:?}: {count}"
                );
            }
        }
    }

    #[test]
    fn inodes_that_do_not_fit_equal_groups_are_refused() {
        // 2^19 groups of 8,191.99 inodes each, rounded down to multiples of 16.
        let max = (8192 - 16) << 19;
        for requested in [Inodes::default(), Inodes::AtLeast(0)] {
            let count = |needed| inode_count_of(BlockSize::Kib4, 64 * TIB, requested, needed);
            assert_eq!(count(max).expect("it fits"), u64::from(max));
            assert!(count(max + 1).is_err());
        }
    }
}
