//! Block group descriptors ("Block Group Descriptors" in the kernel's documentation).

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::assert_layout;

/// Size of a descriptor in bytes, with the feature `64bit`.
pub(crate) const SIZE: u32 = 64;

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
    /// First block of the inode table.
    pub(crate) fn inode_table(&self) -> u64 {
        u64::from(self.inode_table_lo.get()) | u64::from(self.inode_table_hi.get()) << 32
    }
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
