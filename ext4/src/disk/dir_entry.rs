//! Directory entries, linear and indexed ("Directory Entries" in the kernel's documentation).

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::assert_layout;

/// Kinds of file as directory entries give them (`EXT4_FT_*`).
pub(crate) mod file_type {
    pub(crate) const REGULAR: u8 = 1;
    pub(crate) const DIRECTORY: u8 = 2;
    pub(crate) const CHAR_DEVICE: u8 = 3;
    pub(crate) const BLOCK_DEVICE: u8 = 4;
    pub(crate) const FIFO: u8 = 5;
    pub(crate) const SOCKET: u8 = 6;
    pub(crate) const SYMLINK: u8 = 7;
    /// The entry that holds the checksum of the block.
    pub(crate) const CHECKSUM: u8 = 0xDE;
}

/// Start of an entry, 8 bytes, before its name (`struct ext4_dir_entry_2`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct DirEntry {
    pub(crate) inode: U32,
    pub(crate) rec_len: U16,
    pub(crate) name_len: u8,
    pub(crate) file_type: u8,
}

/// Last 12 bytes of a block of entries (`struct ext4_dir_entry_tail`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct DirEntryTail {
    pub(crate) entry: DirEntry,
    pub(crate) checksum: U32,
}

/// What the root of an index says of itself, 8 bytes (`struct dx_root_info`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct IndexRootInfo {
    pub(crate) reserved_zero: U32,
    pub(crate) hash_version: u8,
    pub(crate) info_length: u8,
    pub(crate) indirect_levels: u8,
    pub(crate) unused_flags: u8,
}

/// Room and entries of an index node, in the place of the first entry's hash (`struct dx_countlimit`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct IndexCountLimit {
    pub(crate) limit: U16,
    pub(crate) count: U16,
}

/// Entry of an index node, 8 bytes (`struct dx_entry`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct IndexEntry {
    pub(crate) hash: U32,
    pub(crate) block: U32,
}

/// End of an index node, 8 bytes (`struct dx_tail`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct IndexTail {
    pub(crate) reserved: U32,
    pub(crate) checksum: U32,
}

assert_layout!(DirEntry: 8, name_len @ 6);
assert_layout!(DirEntryTail: 12, checksum @ 8);
assert_layout!(IndexRootInfo: 8, indirect_levels @ 6);
assert_layout!(IndexCountLimit: 4, count @ 2);
assert_layout!(IndexEntry: 8, block @ 4);
assert_layout!(IndexTail: 8, checksum @ 4);
