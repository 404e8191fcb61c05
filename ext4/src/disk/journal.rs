//! Structures of the journal ("Journal (jbd2)" in the kernel's documentation). Their integers are
//! big-endian.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, little_endian};

use super::assert_layout;
use crate::units::{BlockSize, join};

/// `h_magic` (`JBD2_MAGIC_NUMBER`).
pub(crate) const MAGIC: u32 = 0xC03B_3998;
/// `h_blocktype` of a superblock of version 2 (`JBD2_SUPERBLOCK_V2`).
pub(crate) const SUPERBLOCK_V2: u32 = 4;
/// `s_checksum_type`: CRC32C (`JBD2_CRC32C_CHKSUM`).
pub(crate) const CHECKSUM_CRC32C: u8 = 4;
/// Blocks for fast commits at the end of the journal if `s_num_fc_blks` is zero
/// (`JBD2_DEFAULT_FAST_COMMIT_BLOCKS`).
pub(crate) const DEFAULT_FAST_COMMIT_BLOCKS: u32 = 256;

/// Minimum blocks of a journal, without those for fast commits (`JBD2_MIN_JOURNAL_BLOCKS`).
pub(crate) const MIN_BLOCKS: u32 = 1024;

/// `h_blocktype` of the journal's other blocks.
pub(crate) mod block_type {
    pub(crate) const DESCRIPTOR: u32 = 1;
    pub(crate) const COMMIT: u32 = 2;
    pub(crate) const SUPERBLOCK_V1: u32 = 3;
    pub(crate) const REVOKE: u32 = 5;
}

/// `s_feature_compat`: commit blocks hold a checksum of their transaction
/// (`JBD2_FEATURE_COMPAT_CHECKSUM`).
pub(crate) const COMPAT_CHECKSUM: u32 = 1;

/// `s_feature_incompat` (`JBD2_FEATURE_INCOMPAT_*`).
pub(crate) mod incompat {
    pub(crate) const REVOKE: u32 = 0x1;
    pub(crate) const BIT64: u32 = 0x2;
    pub(crate) const ASYNC_COMMIT: u32 = 0x4;
    pub(crate) const CSUM_V2: u32 = 0x8;
    pub(crate) const CSUM_V3: u32 = 0x10;
    pub(crate) const FAST_COMMIT: u32 = 0x20;
}

/// Flags of a tag (`JBD2_FLAG_*`).
pub(crate) mod tag_flag {
    /// The block begins with the journal's magic number, which the journal replaces by zeros.
    pub(crate) const ESCAPE: u32 = 1;
    /// No UUID of 16 bytes follows the tag.
    pub(crate) const SAME_UUID: u32 = 2;
    /// The tag is the last one of its block.
    pub(crate) const LAST: u32 = 8;
}

/// Header of a block of the journal that is not content, 12 bytes (`struct journal_header_s`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct BlockHeader {
    pub(crate) magic: U32,
    pub(crate) blocktype: U32,
    pub(crate) sequence: U32,
}

/// Tag of a block of content in a descriptor block, with checksums of version 3 (`struct
/// journal_block_tag3_s`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Tag3 {
    pub(crate) blocknr: U32,
    pub(crate) flags: U32,
    pub(crate) blocknr_high: U32,
    pub(crate) checksum: U32,
}

/// Tag of a block of content in a descriptor block, without checksums of version 3. With 64-bit
/// numbers, the high half of the number follows (`struct journal_block_tag_s`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Tag {
    pub(crate) blocknr: U32,
    pub(crate) checksum: U16,
    pub(crate) flags: U16,
}

/// Tag in a form that does not depend on the features of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecodedTag {
    /// Number of the block in the file system.
    pub(crate) block: u64,
    /// Flags from [`tag_flag`].
    pub(crate) flags: u32,
    /// Checksum of the content: the low 16 bits with `CSUM_V2`, all 32 bits with `CSUM_V3`.
    pub(crate) checksum: u32,
}

impl DecodedTag {
    /// Returns the length in bytes of the UUID that follows the tag.
    pub(crate) fn uuid_len(self) -> usize {
        if self.flags & tag_flag::SAME_UUID == 0 { 16 } else { 0 }
    }
}

/// Form of the tags and revoke records of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TagFormat {
    /// `s_feature_incompat` of the journal.
    incompat: u32,
}

impl TagFormat {
    /// Returns the form in a journal with these features in `s_feature_incompat`.
    pub(crate) fn new(incompat: u32) -> Self {
        Self { incompat }
    }

    fn has(self, feature: u32) -> bool {
        self.incompat & feature != 0
    }

    /// Returns the length of a tag in bytes (`journal_tag_bytes`).
    pub(crate) fn len(self) -> usize {
        if self.has(incompat::CSUM_V3) {
            return size_of::<Tag3>();
        }
        let high = if self.has(incompat::BIT64) { size_of::<U32>() } else { 0 };
        // Two unused bytes.
        let unused = if self.has(incompat::CSUM_V2) { 2 } else { 0 };
        size_of::<Tag>() + unused + high
    }

    /// Decodes the first tag of `bytes`, or returns `None` if they are too short.
    pub(crate) fn decode(self, bytes: &[u8]) -> Option<DecodedTag> {
        let block = |lo: U32, hi: Option<U32>| {
            let hi = hi.filter(|_| self.has(incompat::BIT64));
            join(lo.get(), hi.map_or(0, U32::get))
        };
        let bytes = bytes.get(..self.len())?;
        if self.has(incompat::CSUM_V3) {
            let (tag, _) = Tag3::ref_from_prefix(bytes).ok()?;
            return Some(DecodedTag {
                block: block(tag.blocknr, Some(tag.blocknr_high)),
                flags: tag.flags.get(),
                checksum: tag.checksum.get(),
            });
        }
        let (tag, rest) = Tag::ref_from_prefix(bytes).ok()?;
        Some(DecodedTag {
            block: block(tag.blocknr, U32::read_from_prefix(rest).ok().map(|(high, _)| high)),
            flags: tag.flags.get().into(),
            checksum: tag.checksum.get().into(),
        })
    }

    /// Returns the length in bytes of a block number in a revoke block.
    pub(crate) fn revoked_len(self) -> usize {
        if self.has(incompat::BIT64) { 8 } else { 4 }
    }

    /// Returns the length in bytes of the checksum at the end of a descriptor or revoke block.
    pub(crate) fn tail_len(self) -> usize {
        if self.has(incompat::CSUM_V2 | incompat::CSUM_V3) {
            4
        } else {
            0
        }
    }
}

/// Header of a revoke block, 16 bytes (`struct jbd2_journal_revoke_header_s`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RevokeHeader {
    pub(crate) header: BlockHeader,
    /// Length in bytes of the used part of the block, including this header.
    pub(crate) count: U32,
}

/// Header of a commit block, which ends a transaction, 60 bytes (`struct commit_header`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct CommitHeader {
    pub(crate) header: BlockHeader,
    pub(crate) checksum_type: u8,
    pub(crate) checksum_size: u8,
    pub(crate) padding: [u8; 2],
    pub(crate) checksum: [U32; 8],
    pub(crate) commit_sec: U64,
    pub(crate) commit_nsec: U32,
}

/// `fc_tag` at the start of the area for fast commits (`EXT4_FC_TAG_HEAD`).
pub(crate) const FAST_COMMIT_HEAD: u16 = 9;

/// Start of the area for fast commits, little-endian (`struct ext4_fc_tl` and `struct
/// ext4_fc_head`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct FastCommitHead {
    pub(crate) tag: little_endian::U16,
    pub(crate) len: little_endian::U16,
    pub(crate) features: little_endian::U32,
    /// Sequence number of the incomplete transaction that the fast commits belong to.
    pub(crate) transaction: little_endian::U32,
}

/// Superblock of the journal, 1,024 bytes (`struct journal_superblock_s`).
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

impl JournalSuperblock {
    /// Returns the superblock of an empty journal of `block_count` blocks, including the
    /// superblock.
    ///
    /// The features are zero: the kernel enables checksums at the first mount. The UUID is zero:
    /// only journals on a device of their own have one. The start of the log is zero: there is
    /// nothing to replay.
    pub(crate) fn empty(block_count: u64, block_size: BlockSize) -> Self {
        Self {
            magic: MAGIC.into(),
            blocktype: SUPERBLOCK_V2.into(),
            blocksize: block_size.bytes().into(),
            maxlen: u32::try_from(block_count)
                .expect("a journal has at most 10,240,000 blocks")
                .into(),
            first: 1.into(),
            sequence: 1.into(),
            nr_users: 1.into(),
            ..Self::new_zeroed()
        }
    }
}

assert_layout!(JournalSuperblock: 1024, sequence @ 0x18, uuid @ 0x30, nr_users @ 0x40, checksum_type @ 0x50, checksum @ 0xFC);
assert_layout!(FastCommitHead: 12, transaction @ 8);
assert_layout!(RevokeHeader: 16, count @ 12);
assert_layout!(BlockHeader: 12, sequence @ 8);
assert_layout!(Tag3: 16, checksum @ 12);
assert_layout!(Tag: 8, flags @ 6);
assert_layout!(CommitHeader: 60, checksum @ 16, commit_sec @ 48);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_format_follows_the_features() {
        let bytes = [
            0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 5, // As Tag3: block 7, flags 3, high 9, checksum 5.
        ];
        let block = |block, flags, checksum| Some(DecodedTag { block, flags, checksum });
        for (features, len, expected) in [
            (0, 8, block(7, 3, 0)),
            (incompat::BIT64, 12, block(9 << 32 | 7, 3, 0)),
            (incompat::CSUM_V2, 10, block(7, 3, 0)),
            (incompat::CSUM_V2 | incompat::BIT64, 14, block(9 << 32 | 7, 3, 0)),
            (incompat::CSUM_V3, 16, block(7, 3, 5)),
            (incompat::CSUM_V3 | incompat::BIT64, 16, block(9 << 32 | 7, 3, 5)),
        ] {
            let format = TagFormat::new(features);
            assert_eq!(format.len(), len, "{features:#x}");
            assert_eq!(format.decode(&bytes), expected, "{features:#x}");
            assert_eq!(format.decode(&bytes[..len - 1]), None, "{features:#x}");
        }
    }
}
