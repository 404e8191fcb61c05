//! Which checksums a file system has, and whether they are right.

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

/// The checksums of a file system.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sums {
    /// None at all.
    None,
    /// Those of group descriptors, which begin with the UUID (`uninit_bg`).
    Descriptors([u8; 16]),
    /// Those of all metadata (`metadata_csum`).
    All(Seed),
}

impl Sums {
    pub(super) fn of(superblock: &Superblock) -> Self {
        let features = superblock.features();
        if features.contains(Features::METADATA_CSUM) {
            return Self::All(if features.contains(Features::METADATA_CSUM_SEED) {
                Seed::stored(superblock.checksum_seed.get())
            } else {
                Seed::of_uuid(&superblock.uuid)
            });
        }
        if features.contains(Features::UNINIT_BG) {
            return Self::Descriptors(superblock.uuid);
        }
        Self::None
    }

    /// What the checksums of all metadata begin with, if there are any.
    pub(crate) fn seed(self) -> Option<Seed> {
        match self {
            Self::All(seed) => Some(seed),
            _ => None,
        }
    }

    /// Whether a group's descriptor, of any length, has the right sum.
    pub(crate) fn is_right_descriptor(self, bytes: &[u8], descriptor: &GroupDesc, group: u32) -> bool {
        let expected = match self {
            Self::None => return true,
            Self::Descriptors(uuid) => checksum::group_desc_crc16(bytes, &uuid, group),
            Self::All(seed) => checksum::group_desc(bytes, seed, group),
        };
        descriptor.checksum.get() == expected
    }
}

/// Whether a superblock has the right sum, or none.
pub(crate) fn is_right_superblock(superblock: &Superblock) -> bool {
    !superblock.has(Features::METADATA_CSUM)
        || (superblock.checksum_type == CHECKSUM_CRC32C
            && superblock.checksum.get() == checksum::superblock(superblock))
}

/// Whether an inode has the right sum: its two halves, of which the high one is there if `i_extra_isize` reaches so far.
pub(crate) fn is_right_inode(bytes: &[u8], lo: u16, hi: Option<u16>, seed: Seed) -> bool {
    let sum = checksum::inode(bytes, hi.is_some(), seed);
    lo == sum.low16() && hi.is_none_or(|hi| hi == sum.high16())
}

/// Whether a block of an extent tree has the right sum.
pub(crate) fn is_right_extent_node(block: &[u8], header: &ExtentHeader, seed: Seed) -> bool {
    checksum::extent_block(block, header.max.get().into(), seed)
        .is_some_and(|(at, sum)| block[at..at + 4] == sum.to_le_bytes())
}

/// Whether a block of attributes has the right sum.
pub(crate) fn is_right_xattr_block(block: &[u8], header: &XattrHeader, nr: BlockNr, seed: Seed) -> bool {
    header.checksum.get() == checksum::xattr_block(block, nr, seed)
}

/// Whether a block of entries ends with a checksum, and that is right.
pub(crate) fn is_right_leaf(block: &[u8], seed: Seed) -> bool {
    has_tail(block) && block[block.len() - 4..] == checksum::directory_block(block, seed).to_le_bytes()
}

/// Whether a block of entries ends with an entry that holds a checksum.
pub(crate) fn has_tail(block: &[u8]) -> bool {
    DirEntryTail::of(block).is_some()
}

/// Whether a node of an index, whose entries begin at `entries`, has the right sum.
pub(crate) fn is_right_index_node(block: &[u8], entries: usize, seed: Seed) -> bool {
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

/// Makes a wrong checksum an error.
pub(super) fn expect(is_right: bool, structure: Structure) -> Result<(), ReadError> {
    if is_right {
        Ok(())
    } else {
        Err(ReadError::Checksum { structure })
    }
}
