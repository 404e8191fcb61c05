//! [`Geometry`]: the size of groups and of their backup areas, which is fixed before the first
//! byte of content is written.

use crate::disk::block_map::numbers_per_block;
use crate::disk::superblock::{first_data_block, has_sparse_backup};
use crate::disk::{group_desc, inode};
use crate::options::{Options, Size};
use crate::units::{BlockNr, BlockRange, BlockSize};

/// Minimum of the size in bytes to which a file system can grow with [`Options::growth`]: 1 TiB.
const ROOM_TO_GROW: u64 = 1 << 40;
/// Minimum of the factor by which a file system can grow with [`Options::growth`].
const GROWTH_FACTOR: u64 = 16;

/// Block groups, whose number is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) block_size: BlockSize,
    /// Blocks after each superblock for group descriptors, including those that are reserved for
    /// growth.
    pub(crate) max_descriptor_blocks: u64,
}

impl Geometry {
    /// Returns the geometry that the options require. For [`Size::Fit`], it is that of the maximum
    /// size.
    pub(crate) fn new(options: &Options) -> Self {
        let size = match options.size {
            Size::Fixed(bytes) => bytes,
            Size::Fit(fit) => fit.max,
        };
        Self::for_size(options, size)
    }

    /// Returns the geometry of a file system of `bytes` bytes.
    pub(crate) fn for_size(options: &Options, bytes: u64) -> Self {
        let mut geometry = Self {
            block_size: options.block_size,
            max_descriptor_blocks: 0,
        };
        let needed = geometry.descriptor_blocks(bytes);
        let grown = match options.size {
            _ if !options.growth => needed,
            Size::Fixed(_) => geometry.descriptor_blocks(bytes.saturating_mul(GROWTH_FACTOR).max(ROOM_TO_GROW)),
            Size::Fit(_) => geometry.descriptor_blocks(ROOM_TO_GROW),
        };
        geometry.max_descriptor_blocks = match options.size {
            Size::Fixed(_) => grown.clamp(needed, needed + geometry.max_reserved_descriptor_blocks()),
            // The size is not known yet, so all blocks that can be reserved serve both present
            // descriptors and growth.
            Size::Fit(_) => grown.max(needed).min(geometry.max_reserved_descriptor_blocks()),
        };
        geometry
    }

    /// Maximum number of blocks that the resize inode can reserve: the numbers in one indirect
    /// block.
    fn max_reserved_descriptor_blocks(&self) -> u64 {
        numbers_per_block(self.block_size.len()) as u64
    }

    /// Number of blocks of group descriptors of a file system of `bytes` bytes.
    fn descriptor_blocks(&self, bytes: u64) -> u64 {
        let groups = (bytes >> self.block_size.log2()).div_ceil(self.blocks_per_group());
        groups.div_ceil(self.descriptors_per_block())
    }

    /// Number of group descriptors in a block.
    pub(crate) fn descriptors_per_block(&self) -> u64 {
        u64::from(self.block_size.bytes() / u32::from(group_desc::SIZE))
    }

    /// Number of inodes in a block of an inode table.
    pub(crate) fn inodes_per_block(&self) -> u32 {
        self.block_size.bytes() / u32::from(inode::SIZE)
    }

    /// Number of blocks in a group: the bits of a block bitmap, capped at the maximum of libext2fs
    /// (`EXT2_MAX_BLOCKS_PER_GROUP`).
    pub(crate) fn blocks_per_group(&self) -> u64 {
        u64::from((8 * self.block_size.bytes()).min((1 << 16) - 8))
    }

    /// Maximum number of inodes in a group: the bits of an inode bitmap, capped at the maximum of
    /// libext2fs (`EXT2_MAX_INODES_PER_GROUP`).
    pub(crate) fn max_inodes_per_group(&self) -> u32 {
        let limit = (8 * self.block_size.bytes()).min((1 << 16) - self.inodes_per_block());
        limit / self.inodes_per_block() * self.inodes_per_block()
    }

    /// Number of the block with the primary superblock (`s_first_data_block`).
    pub(crate) fn first_data_block(&self) -> u64 {
        first_data_block(self.block_size.len()).into()
    }

    /// Maximum size in bytes of a file system with these options.
    pub(crate) fn max_bytes(options: &Options) -> u64 {
        let mut geometry = Self::new(options);
        if let Size::Fixed(_) = options.size {
            // Half of a group is left for the inode table, which must be contiguous.
            geometry.max_descriptor_blocks =
                geometry.blocks_per_group() / 2 - geometry.max_reserved_descriptor_blocks();
        }
        let groups = geometry.max_descriptor_blocks * geometry.descriptors_per_block();
        (geometry.first_data_block() + groups * geometry.blocks_per_group()) << options.block_size.log2()
    }

    /// Number of groups of a file system of `blocks` blocks.
    pub(crate) fn group_count(&self, blocks: u64) -> u64 {
        blocks
            .saturating_sub(self.first_data_block())
            .div_ceil(self.blocks_per_group())
    }

    /// First block of a group.
    pub(crate) fn group_start(&self, group: u64) -> BlockNr {
        BlockNr(self.first_data_block() + group * self.blocks_per_group())
    }

    /// The group of a block.
    pub(crate) fn group_of(&self, block: BlockNr) -> u64 {
        block.0.saturating_sub(self.first_data_block()) / self.blocks_per_group()
    }

    /// Returns the area at the start of a group for a superblock, group descriptors and reserved
    /// descriptor blocks; empty if the group has no backup. Group 0 has the primary ones.
    pub(crate) fn backup_area(&self, group: u64) -> BlockRange {
        let count = if has_sparse_backup(group) {
            1 + self.max_descriptor_blocks
        } else {
            0
        };
        BlockRange {
            start: self.group_start(group),
            count,
        }
    }
}

/// Returns the first group from `group` on with a superblock.
pub(crate) fn next_backup_group(group: u64) -> u64 {
    (group..=u64::MAX)
        .find(|&group| has_sparse_backup(group))
        .expect("there are powers of 3 beyond any image")
}

/// Returns the groups with a superblock: group 0, and those with backups.
pub(crate) fn backup_groups(group_count: u64) -> impl Iterator<Item = u64> {
    (0..group_count).filter(|&group| has_sparse_backup(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gibibyte_reserves_the_descriptors_that_mke2fs_reserves() {
        let options = Options {
            size: Size::Fixed(1 << 30),
            ..Options::new([0; 16])
        };
        assert_eq!(Geometry::new(&options).max_descriptor_blocks, 1 + 127);
    }
}
