//! Block group descriptors ("Block Group Descriptors" in the kernel's documentation).

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32};

use super::{assert_layout, from_prefix, split_numbers};

/// Size of a descriptor in bytes without the feature `64bit`: the first half of the fields.
pub(crate) const SMALL_SIZE: u16 = 32;
/// Size of a descriptor in bytes with the feature `64bit`.
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
    /// Reads a descriptor of `bytes.len()` bytes. Fields beyond its end are zero.
    pub(crate) fn from_prefix(bytes: &[u8]) -> Self {
        from_prefix(bytes)
    }

    split_numbers! {
        /// Block of the block bitmap.
        block_bitmap, set_block_bitmap: 64 = block_bitmap_lo, block_bitmap_hi;
        /// Block of the inode bitmap.
        inode_bitmap, set_inode_bitmap: 64 = inode_bitmap_lo, inode_bitmap_hi;
        /// First block of the inode table.
        inode_table, set_inode_table: 64 = inode_table_lo, inode_table_hi;
        /// Free blocks.
        free_blocks, set_free_blocks: 32 = free_blocks_count_lo, free_blocks_count_hi;
        /// Free inodes.
        free_inodes, set_free_inodes: 32 = free_inodes_count_lo, free_inodes_count_hi;
        /// Directories.
        used_dirs, set_used_dirs: 32 = used_dirs_count_lo, used_dirs_count_hi;
        /// Inodes at the end of the inode table that were never used.
        itable_unused, set_itable_unused: 32 = itable_unused_lo, itable_unused_hi;
        /// Checksum of the block bitmap.
        block_bitmap_csum, set_block_bitmap_csum: 32 = block_bitmap_csum_lo, block_bitmap_csum_hi;
        /// Checksum of the inode bitmap.
        inode_bitmap_csum, set_inode_bitmap_csum: 32 = inode_bitmap_csum_lo, inode_bitmap_csum_hi;
    }

    /// Returns which parts of the group were never written.
    pub(crate) fn flags(&self) -> GroupFlags {
        GroupFlags::from_bits_retain(self.flags.get())
    }
}

/// Returns a mask of the bits of a bitmap's checksum that a descriptor of `descriptor_len` bytes
/// has room for.
pub(crate) fn bitmap_csum_mask(descriptor_len: usize) -> u32 {
    if descriptor_len < SIZE.into() { 0xFFFF } else { u32::MAX }
}

assert_layout!(GroupDesc: 64, flags @ 0x12, checksum @ 0x1E, block_bitmap_hi @ 0x20, block_bitmap_csum_hi @ 0x38);

bitflags! {
    /// `bg_flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct GroupFlags: u16 {
        /// Every inode of the group is free, and its inode bitmap was never written.
        const INODE_UNINIT = 0x1;
        /// The group holds no content, and its block bitmap was never written. Only its own
        /// metadata is in use: a backup of the superblock, bitmaps and its inode table.
        const BLOCK_UNINIT = 0x2;
        /// Unused inodes of the inode table read as zeros, so the guest need not clear them.
        const INODE_ZEROED = 0x4;
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    #[test]
    fn small_descriptors_have_the_low_halves() {
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
        fn split_numbers_round_trip(wide: [u64; 3], narrow: [u32; 6]) {
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
