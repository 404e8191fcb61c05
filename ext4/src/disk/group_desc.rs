//! Block group descriptors ("Block Group Descriptors" in the kernel's documentation).

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32};

use super::{assert_layout, from_prefix, split_numbers};

/// Size of a descriptor in bytes without the feature `64bit`: the first half of the fields.
pub(crate) const SMALL_SIZE: u16 = 32;
/// Size of a descriptor in bytes, with the feature `64bit`.
pub(crate) const SIZE: u16 = 64;

/// Block group descriptor, 64 bytes (`struct ext4_group_desc`).
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct GroupDesc {
    pub(crate) block_bitmap_lo: U32,
    pub(crate) inode_bitmap_lo: U32,
    pub(crate) inode_table_lo: U32,
    pub(crate) free_blocks_count_lo: U16,
    pub(crate) free_inodes_count_lo: U16,
    pub(crate) used_dirs_count_lo: U16,
    pub(crate) flags: U16,
    pub(crate) exclude_bitmap_lo: U32,
    pub(crate) block_bitmap_csum_lo: U16,
    pub(crate) inode_bitmap_csum_lo: U16,
    pub(crate) itable_unused_lo: U16,
    pub(crate) checksum: U16,
    pub(crate) block_bitmap_hi: U32,
    pub(crate) inode_bitmap_hi: U32,
    pub(crate) inode_table_hi: U32,
    pub(crate) free_blocks_count_hi: U16,
    pub(crate) free_inodes_count_hi: U16,
    pub(crate) used_dirs_count_hi: U16,
    pub(crate) itable_unused_hi: U16,
    pub(crate) exclude_bitmap_hi: U32,
    pub(crate) block_bitmap_csum_hi: U16,
    pub(crate) inode_bitmap_csum_hi: U16,
    pub(crate) reserved: U32,
}

impl GroupDesc {
    /// A descriptor that takes all of `bytes`; fields that it has no room for are zero.
    pub(crate) fn from_prefix(bytes: &[u8]) -> Self {
        from_prefix(bytes)
    }

    split_numbers! {
        /// The block of the block bitmap.
        block_bitmap, set_block_bitmap: 64 = block_bitmap_lo, block_bitmap_hi;
        /// The block of the inode bitmap.
        inode_bitmap, set_inode_bitmap: 64 = inode_bitmap_lo, inode_bitmap_hi;
        /// First block of the inode table.
        inode_table, set_inode_table: 64 = inode_table_lo, inode_table_hi;
        /// Blocks that nothing uses.
        free_blocks, set_free_blocks: 32 = free_blocks_count_lo, free_blocks_count_hi;
        /// Inodes that nothing uses.
        free_inodes, set_free_inodes: 32 = free_inodes_count_lo, free_inodes_count_hi;
        /// Inodes that are directories.
        used_dirs, set_used_dirs: 32 = used_dirs_count_lo, used_dirs_count_hi;
        /// Inodes at the end of the table that were never used.
        itable_unused, set_itable_unused: 32 = itable_unused_lo, itable_unused_hi;
        /// Checksum of the block bitmap.
        block_bitmap_csum, set_block_bitmap_csum: 32 = block_bitmap_csum_lo, block_bitmap_csum_hi;
        /// Checksum of the inode bitmap.
        inode_bitmap_csum, set_inode_bitmap_csum: 32 = inode_bitmap_csum_lo, inode_bitmap_csum_hi;
    }

    /// Parts of the group that are not written.
    pub(crate) fn flags(&self) -> GroupFlags {
        GroupFlags::from_bits_retain(self.flags.get())
    }
}

/// Bits of a bitmap's checksum that a descriptor of `descriptor_len` bytes has room for.
pub(crate) fn bitmap_csum_mask(descriptor_len: usize) -> u32 {
    if descriptor_len < SIZE.into() { 0xFFFF } else { u32::MAX }
}

assert_layout!(GroupDesc: 64, flags @ 0x12, checksum @ 0x1E, block_bitmap_hi @ 0x20, block_bitmap_csum_hi @ 0x38);

bitflags! {
    /// `bg_flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct GroupFlags: u16 {
        /// No inode of the group is in use, and its inode bitmap is not written.
        const INODE_UNINIT = 0x1;
        /// Nothing but a superblock backup is in the group, and its block bitmap is not written.
        const BLOCK_UNINIT = 0x2;
        /// The inode table reads as zeros where it is unused: the guest need not clear it.
        const INODE_ZEROED = 0x4;
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    #[test]
    fn a_small_descriptor_has_the_low_halves() {
        let mut descriptor = GroupDesc::new_zeroed();
        descriptor.set_inode_table(0x1234_5678_9ABC);
        descriptor.set_free_blocks(0x1_2345);
        descriptor.set_block_bitmap_csum(0xDEAD_BEEF);
        for (len, expected) in [
            (64, (0x1234_5678_9ABC, 0x1_2345, 0xDEAD_BEEF)),
            (32, (0x5678_9ABC, 0x2345, 0xBEEF)),
        ] {
            let read = GroupDesc::from_prefix(&descriptor.as_bytes()[..len]);
            let found = (read.inode_table(), read.free_blocks(), read.block_bitmap_csum());
            assert_eq!(found, expected, "{len} bytes");
            assert_eq!(0xDEAD_BEEF & bitmap_csum_mask(len), expected.2);
        }
    }

    proptest::proptest! {
        #[test]
        fn numbers_in_two_fields_come_back(wide: [u64; 3], narrow: [u32; 6]) {
            let mut descriptor = GroupDesc::new_zeroed();
            descriptor.set_block_bitmap(wide[0]);
            descriptor.set_inode_bitmap(wide[1]);
            descriptor.set_inode_table(wide[2]);
            descriptor.set_free_blocks(narrow[0]);
            descriptor.set_free_inodes(narrow[1]);
            descriptor.set_used_dirs(narrow[2]);
            descriptor.set_itable_unused(narrow[3]);
            descriptor.set_block_bitmap_csum(narrow[4]);
            descriptor.set_inode_bitmap_csum(narrow[5]);
            let read = GroupDesc::from_prefix(descriptor.as_bytes());
            assert_eq!([read.block_bitmap(), read.inode_bitmap(), read.inode_table()], wide);
            let found = [read.free_blocks(), read.free_inodes(), read.used_dirs(), read.itable_unused()];
            assert_eq!(found, narrow[..4]);
            assert_eq!([read.block_bitmap_csum(), read.inode_bitmap_csum()], narrow[4..]);
        }
    }
}
