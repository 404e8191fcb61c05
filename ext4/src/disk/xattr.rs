//! Extended attributes ("Extended Attributes" in the kernel's documentation).

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::assert_layout;

/// `h_magic`, of a block and of the room in an inode.
pub(crate) const MAGIC: u32 = 0xEA02_0000;
/// Most inodes that share a block (`EXT4_XATTR_REFCOUNT_MAX`).
pub(crate) const MAX_REFCOUNT: u32 = 1024;
/// Namespaces whose attributes no system call shows: those of other systems, of encryption and of
/// fs-verity (`EXT4_XATTR_INDEX_LUSTRE`, `_RICHACL`, `_ENCRYPTION`, `_HURD`, `_VERITY`).
pub(crate) const HIDDEN_NAMESPACES: [u8; 5] = [5, 8, 9, 10, 11];

/// Start of a block of attributes, 32 bytes (`struct ext4_xattr_header`).
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct XattrHeader {
    pub(crate) magic: U32,
    pub(crate) refcount: U32,
    pub(crate) blocks: U32,
    pub(crate) hash: U32,
    pub(crate) checksum: U32,
    pub(crate) reserved: [U32; 3],
}

/// Start of an attribute, 16 bytes, before its name (`struct ext4_xattr_entry`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct XattrEntry {
    pub(crate) name_len: u8,
    pub(crate) name_index: u8,
    pub(crate) value_offs: U16,
    pub(crate) value_inum: U32,
    pub(crate) value_size: U32,
    pub(crate) hash: U32,
}

assert_layout!(XattrHeader: 32, checksum @ 16);
assert_layout!(XattrEntry: 16, value_offs @ 2);
