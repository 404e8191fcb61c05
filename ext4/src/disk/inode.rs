//! Inodes ("Index Nodes" in the kernel's documentation).

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::assert_layout;

/// Size of an inode in bytes.
pub(crate) const SIZE: u32 = 256;
/// Bytes of an inode after the first 128 that have fields (`i_extra_isize`).
pub(crate) const EXTRA_SIZE: u16 = 32;
/// Bytes of `i_block`.
pub(crate) const BLOCK_LEN: usize = 60;
/// Longest symlink target in bytes that lies in `i_block` (one less than its size: e2fsck pass 1 wants a NUL).
pub(crate) const MAX_FAST_SYMLINK: usize = 59;

/// Most bytes of content that an inode holds: in `i_block`, and as the value of the attribute `system.data`, which has all the
/// room for attributes but for its entry and what marks the start and the end.
pub(crate) const MAX_INLINE_DATA: usize = BLOCK_LEN + (96 - 4 - (16 + 4) - 4);

/// `S_IFIFO` and its like in `i_mode`.
pub(crate) mod file_type {
    pub(crate) const FIFO: u16 = 0o010_000;
    pub(crate) const CHAR_DEVICE: u16 = 0o020_000;
    pub(crate) const DIRECTORY: u16 = 0o040_000;
    pub(crate) const BLOCK_DEVICE: u16 = 0o060_000;
    pub(crate) const REGULAR: u16 = 0o100_000;
    pub(crate) const SYMLINK: u16 = 0o120_000;
    pub(crate) const SOCKET: u16 = 0o140_000;
}

/// Inode, 256 bytes (`struct ext4_inode`, and the room for extended attributes).
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Inode {
    pub(crate) mode: U16,
    pub(crate) uid: U16,
    pub(crate) size_lo: U32,
    pub(crate) atime: U32,
    pub(crate) ctime: U32,
    pub(crate) mtime: U32,
    pub(crate) dtime: U32,
    pub(crate) gid: U16,
    pub(crate) links_count: U16,
    pub(crate) blocks_lo: U32,
    pub(crate) flags: U32,
    pub(crate) version: U32,
    pub(crate) block: [u8; BLOCK_LEN],
    pub(crate) generation: U32,
    pub(crate) file_acl_lo: U32,
    pub(crate) size_high: U32,
    pub(crate) obso_faddr: U32,
    pub(crate) blocks_high: U16,
    pub(crate) file_acl_high: U16,
    pub(crate) uid_high: U16,
    pub(crate) gid_high: U16,
    pub(crate) checksum_lo: U16,
    pub(crate) reserved: U16,
    pub(crate) extra_isize: U16,
    pub(crate) checksum_hi: U16,
    pub(crate) ctime_extra: U32,
    pub(crate) mtime_extra: U32,
    pub(crate) atime_extra: U32,
    pub(crate) crtime: U32,
    pub(crate) crtime_extra: U32,
    pub(crate) version_hi: U32,
    pub(crate) projid: U32,
    /// Extended attributes, or zeros.
    pub(crate) xattrs: [u8; 96],
}

assert_layout!(Inode: 256, block @ 0x28, file_acl_lo @ 0x68, checksum_lo @ 0x7C, extra_isize @ 0x80, crtime @ 0x90, xattrs @ 0xA0);

bitflags! {
    /// `i_flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct InodeFlags: u32 {
        /// Nothing of it can be changed (`EXT4_IMMUTABLE_FL`).
        const IMMUTABLE = 0x10;
        /// It can only be appended to (`EXT4_APPEND_FL`).
        const APPEND = 0x20;
        /// The content and names are encrypted (`EXT4_ENCRYPT_FL`).
        const ENCRYPT = 0x800;
        /// Made by and for AFS (`EXT4_IMAGIC_FL`).
        const IMAGIC = 0x2000;
        /// The directory has an index.
        const INDEX = 0x1000;
        /// `i_blocks` counts blocks of the file system instead of 512 bytes.
        const HUGE_FILE = 0x4_0000;
        /// `i_block` is the root of an extent tree.
        const EXTENTS = 0x8_0000;
        /// A tree of hashes follows the content (`EXT4_VERITY_FL`).
        const VERITY = 0x10_0000;
        /// The inode holds the value of an extended attribute.
        const EA_INODE = 0x20_0000;
        /// The content is in the inode.
        const INLINE_DATA = 0x1000_0000;
        /// The case of names in the directory makes no difference (`EXT4_CASEFOLD_FL`).
        const CASEFOLD = 0x4000_0000;
    }
}
