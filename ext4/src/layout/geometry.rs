//! What is fixed before the first byte of content is written: the size of groups, and which of them begin with a copy of the
//! superblock and room for group descriptors.

use crate::disk::block_map::numbers_per_block;
use crate::disk::superblock::{first_data_block, has_sparse_backup};
use crate::disk::{group_desc, inode};
use crate::options::{Options, Size};
use crate::units::{BlockNr, BlockRange, BlockSize};

/// Largest file system in blocks whose descriptors are reserved with growth switched on, however small it begins: 1 TiB.
const ROOM_TO_GROW: u64 = 1 << 40;
/// How many times its size a file system can grow, at least, with growth switched on.
const GROWTH_FACTOR: u64 = 16;

/// The groups, whose number is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) block_size: BlockSize,
    /// Blocks that follow each copy of the superblock: group descriptors, and room for more of them.
    pub(crate) max_descriptor_blocks: u64,
}

impl Geometry {
    /// The geometry for what the options ask.
    pub(crate) fn new(options: &Options) -> Self {
        let size = match options.size {
            Size::Fixed(bytes) => bytes,
            Size::Fit(fit) => fit.max,
        };
        Self::for_size(options, size)
    }

    /// The geometry of a file system of so many bytes.
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
            // How large it becomes is not known: all that can be reserved serves both.
            Size::Fit(_) => grown.max(needed).min(geometry.max_reserved_descriptor_blocks()),
        };
        geometry
    }

    /// Most blocks that the resize inode can reserve: as many as one indirect block lists.
    fn max_reserved_descriptor_blocks(&self) -> u64 {
        numbers_per_block(self.block_size.len()) as u64
    }

    /// Blocks of descriptors of a file system of so many bytes.
    fn descriptor_blocks(&self, bytes: u64) -> u64 {
        let groups = (bytes >> self.block_size.log2()).div_ceil(self.blocks_per_group());
        groups.div_ceil(self.descriptors_per_block())
    }

    pub(crate) fn descriptors_per_block(&self) -> u64 {
        u64::from(self.block_size.bytes() / u32::from(group_desc::SIZE))
    }

    pub(crate) fn inodes_per_block(&self) -> u32 {
        self.block_size.bytes() / u32::from(inode::SIZE)
    }

    /// One block of bitmap's worth, up to what libext2fs allows (`EXT2_MAX_BLOCKS_PER_GROUP`).
    pub(crate) fn blocks_per_group(&self) -> u64 {
        u64::from((8 * self.block_size.bytes()).min((1 << 16) - 8))
    }

    /// Most inodes of a group: one block of bitmap's worth, up to what libext2fs allows (`EXT2_MAX_INODES_PER_GROUP`).
    pub(crate) fn max_inodes_per_group(&self) -> u32 {
        let limit = (8 * self.block_size.bytes()).min((1 << 16) - self.inodes_per_block());
        limit / self.inodes_per_block() * self.inodes_per_block()
    }

    /// The block that holds the primary superblock (`s_first_data_block`).
    pub(crate) fn first_block(&self) -> u64 {
        first_data_block(self.block_size.len()).into()
    }

    /// Largest size in bytes that a file system of these options can have.
    pub(crate) fn max_bytes(options: &Options) -> u64 {
        let mut geometry = Self::new(options);
        if let Size::Fixed(_) = options.size {
            // Half of a group is left to what is contiguous: an inode table.
            geometry.max_descriptor_blocks =
                geometry.blocks_per_group() / 2 - geometry.max_reserved_descriptor_blocks();
        }
        let groups = geometry.max_descriptor_blocks * geometry.descriptors_per_block();
        (geometry.first_block() + groups * geometry.blocks_per_group()) << options.block_size.log2()
    }

    /// Groups of a file system of so many blocks, which is more than the first block.
    pub(crate) fn group_count(&self, blocks: u64) -> u64 {
        blocks
            .saturating_sub(self.first_block())
            .div_ceil(self.blocks_per_group())
    }

    pub(crate) fn group_start(&self, group: u64) -> BlockNr {
        BlockNr(self.first_block() + group * self.blocks_per_group())
    }

    /// The group that a block is in.
    pub(crate) fn group_of(&self, block: BlockNr) -> u64 {
        block.0.saturating_sub(self.first_block()) / self.blocks_per_group()
    }

    /// What is reserved at the start of a group: the superblock or its copy, descriptors, and room for more.
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

/// The first group from `group` on that has a copy of the superblock.
pub(crate) fn next_backup_group(group: u64) -> u64 {
    (group..=u64::MAX)
        .find(|&group| has_sparse_backup(group))
        .expect("there are powers of 3 beyond any image")
}

/// Groups with a copy of the superblock, the first one included.
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
