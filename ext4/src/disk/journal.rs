//! The journal's superblock ("Journal (jbd2)" in the kernel's documentation). Its integers are big-endian.

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::assert_layout;

/// `h_magic` (`JBD2_MAGIC_NUMBER`).
pub(crate) const MAGIC: u32 = 0xC03B_3998;
/// `h_blocktype` of the superblock, version 2 (`JBD2_SUPERBLOCK_V2`).
pub(crate) const SUPERBLOCK_V2: u32 = 4;

/// The journal's superblock, 1,024 bytes (`struct journal_superblock_s`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct JournalSuperblock {
    pub(crate) magic: U32,
    pub(crate) blocktype: U32,
    pub(crate) header_sequence: U32,
    pub(crate) blocksize: U32,
    pub(crate) maxlen: U32,
    pub(crate) first: U32,
    pub(crate) sequence: U32,
    pub(crate) start: U32,
    pub(crate) errno: U32,
    pub(crate) feature_compat: U32,
    pub(crate) feature_incompat: U32,
    pub(crate) feature_ro_compat: U32,
    pub(crate) uuid: [u8; 16],
    pub(crate) nr_users: U32,
    pub(crate) dynsuper: U32,
    pub(crate) max_transaction: U32,
    pub(crate) max_trans_data: U32,
    pub(crate) checksum_type: u8,
    pub(crate) padding2: [u8; 3],
    pub(crate) num_fc_blocks: U32,
    pub(crate) head: U32,
    pub(crate) padding: [U32; 40],
    pub(crate) checksum: U32,
    pub(crate) users: [u8; 768],
}

assert_layout!(JournalSuperblock: 1024, sequence @ 0x18, uuid @ 0x30, nr_users @ 0x40, checksum_type @ 0x50, checksum @ 0xFC);
