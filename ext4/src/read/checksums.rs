//! Verifies the checksums of metadata. The functions named `…_checksum_ok` compare a stored
//! checksum with the computed one.

use zerocopy::FromBytes;

use super::{ReadError, Structure};
use crate::checksum::{self, Seed};
use crate::disk::dir_entry::{DirEntryTail, IndexCountLimit, IndexTail};
use crate::disk::extent::ExtentHeader;
use crate::disk::features::Features;
use crate::disk::group_desc::GroupDesc;
use crate::disk::superblock::{CHECKSUM_CRC32C, Superblock};
use crate::disk::xattr::XattrHeader;
use crate::units::BlockNr;

/// Checksums that a file system has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ChecksumMode {
    /// No checksums.
    None,
    /// Checksums of group descriptors alone, which begin with this UUID (`uninit_bg`).
    GroupDescriptors([u8; 16]),
    /// Checksums of all metadata, which begin with this seed (`metadata_csum`).
    Metadata(Seed),
}

impl ChecksumMode {
    /// Returns the checksums according to the features in a superblock.
    pub(super) fn of(superblock: &Superblock) -> Self {
        let features = superblock.features();
        if features.contains(Features::METADATA_CSUM) {
            return Self::Metadata(if features.contains(Features::METADATA_CSUM_SEED) {
                Seed::stored(superblock.checksum_seed.get())
            } else {
                Seed::of_uuid(&superblock.uuid)
            });
        }
        if features.contains(Features::UNINIT_BG) {
            return Self::GroupDescriptors(superblock.uuid);
        }
        Self::None
    }

    /// Returns the seed of the checksums of all metadata, if there are any.
    pub(crate) fn seed(self) -> Option<Seed> {
        match self {
            Self::Metadata(seed) => Some(seed),
            _ => None,
        }
    }

    /// Returns whether the checksum of a group descriptor is right. `bytes` are those of the
    /// descriptor in the image, in any length.
    pub(crate) fn group_desc_checksum_ok(self, bytes: &[u8], descriptor: &GroupDesc, group: u32) -> bool {
        let expected = match self {
            Self::None => return true,
            Self::GroupDescriptors(uuid) => checksum::group_desc_crc16(bytes, &uuid, group),
            Self::Metadata(seed) => checksum::group_desc(bytes, seed, group),
        };
        descriptor.checksum.get() == expected
    }
}

/// Returns whether the checksum of a superblock is right or missing.
pub(crate) fn superblock_checksum_ok(superblock: &Superblock) -> bool {
    !superblock.has(Features::METADATA_CSUM)
        || (superblock.checksum_type == CHECKSUM_CRC32C
            && superblock.checksum.get() == checksum::superblock(superblock))
}

/// Returns whether the checksum of an inode is right. `hi` is the high half, if `i_extra_isize`
/// covers it.
pub(crate) fn inode_checksum_ok(bytes: &[u8], lo: u16, hi: Option<u16>, seed: Seed) -> bool {
    let sum = checksum::inode(bytes, hi.is_some(), seed);
    lo == sum.low16() && hi.is_none_or(|hi| hi == sum.high16())
}

/// Returns whether the checksum of a block of an extent tree is right.
pub(crate) fn extent_node_checksum_ok(block: &[u8], header: &ExtentHeader, seed: Seed) -> bool {
    checksum::extent_block(block, header.max.get().into(), seed)
        .is_some_and(|(at, sum)| block[at..at + 4] == sum.to_le_bytes())
}

/// Returns whether the checksum of a block of attributes is right.
pub(crate) fn xattr_block_checksum_ok(block: &[u8], header: &XattrHeader, nr: BlockNr, seed: Seed) -> bool {
    header.checksum.get() == checksum::xattr_block(block, nr, seed)
}

/// Returns whether a block of directory entries ends with a right checksum.
pub(crate) fn directory_block_checksum_ok(block: &[u8], seed: Seed) -> bool {
    DirEntryTail::of(block).is_some_and(|tail| tail.checksum.get() == checksum::directory_block(block, seed))
}

/// Returns whether the checksum of an index node is right. Its entries begin at `entries`.
pub(crate) fn index_node_checksum_ok(block: &[u8], entries: usize, seed: Seed) -> bool {
    let counts = IndexCountLimit::ref_from_prefix(&block[entries..]);
    let Ok((counts, _)) = counts else {
        return false;
    };
    let (limit, count) = (usize::from(counts.limit.get()), usize::from(counts.count.get()));
    let tail = block.get(entries + limit * 8..).filter(|_| count <= limit);
    let Some((tail, _)) = tail.and_then(|tail| IndexTail::ref_from_prefix(tail).ok()) else {
        return false;
    };
    let reserved = tail.reserved.get().to_le_bytes();
    tail.checksum.get() == checksum::index_block(block, entries, count, reserved, seed)
}

/// Returns an error for `structure` unless its checksum is right.
pub(super) fn verify_checksum(is_right: bool, structure: Structure) -> Result<(), ReadError> {
    if is_right {
        Ok(())
    } else {
        Err(ReadError::Checksum { structure })
    }
}
