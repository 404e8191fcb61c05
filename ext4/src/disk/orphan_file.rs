//! Orphan file ("Orphan file" in the kernel's documentation): blocks of inode numbers, with zeros
//! in unused slots.

use zerocopy::little_endian::U32;

use super::assert_layout;

/// `ob_magic` (`EXT4_ORPHAN_BLOCK_MAGIC`).
pub(crate) const MAGIC: u32 = 0x0B10_CA04;

/// Tail of a block of inode numbers, 8 bytes (`struct ext4_orphan_block_tail`). The checksum
/// covers the number of the block, in 64 bits, and the bytes before the tail.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct OrphanBlockTail {
    pub(crate) magic: U32,
    pub(crate) checksum: U32,
}

assert_layout!(OrphanBlockTail: 8, checksum @ 4);
