//! Quota files, version 2 revision 1 (`quotaio_v2.h`, `quota_tree.h` of Linux).

use zerocopy::little_endian::{U16, U32, U64};

use super::assert_layout;

/// Length in bytes of a block of a quota file, for every block size of the file system
/// (`V2_DQBLKSIZE_BITS`).
pub(crate) const BLOCK_LEN: usize = 1024;
/// Block of the root of the tree (`QT_TREEOFF`).
pub(crate) const TREE_ROOT: u32 = 1;
/// Levels of nodes above the blocks of entries. Each consumes a byte of the identifier, the
/// highest first.
pub(crate) const TREE_DEPTH: u8 = 4;
/// Entries that fit in a block.
pub(crate) const LEAF_ENTRIES: usize = (BLOCK_LEN - size_of::<LeafHeader>()) / size_of::<Entry>();
/// `dqh_version` with the feature `quota`.
pub(crate) const VERSION: u32 = 1;

/// `dqh_magic` (`V2_INITQMAGICS`).
pub(crate) mod magic {
    pub(crate) const USER: u32 = 0xD9C0_1F11;
    pub(crate) const GROUP: u32 = 0xD9C0_1927;
    pub(crate) const PROJECT: u32 = 0xD9C0_3F14;
}

/// Header in the first block, 32 bytes (`struct v2_disk_dqheader`, `struct v2_disk_dqinfo`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: U32,
    pub(crate) version: U32,
    pub(crate) block_grace: U32,
    pub(crate) inode_grace: U32,
    pub(crate) flags: U32,
    /// Number of blocks of the file.
    pub(crate) blocks: U32,
    /// First free block, or zero.
    pub(crate) free_block: U32,
    /// First block of entries with free entries, or zero.
    pub(crate) free_entry: U32,
}

/// Header of a block of entries, 16 bytes (`struct qt_disk_dqdbheader`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct LeafHeader {
    pub(crate) next_free: U32,
    pub(crate) previous_free: U32,
    /// Number of used entries.
    pub(crate) entries: U16,
    pub(crate) padding: [u8; 6],
}

/// Usage and limits of a user, group or project, 72 bytes (`struct v2r1_disk_dqblk`). An entry of
/// zeros is unused.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) id: U32,
    pub(crate) padding: U32,
    pub(crate) usage: [U64; 8],
}

assert_layout!(Header: 32, blocks @ 20);
assert_layout!(LeafHeader: 16, entries @ 8);
assert_layout!(Entry: 72, usage @ 8);
