//! The bytes that each checksum of the format covers, and its seed ("Checksums" in the kernel's
//! documentation).
//!
//! The writer stores these checksums in `seal.rs`, which lists the places of a new kind of
//! structure. The reader verifies them.

use std::mem::offset_of;

use zerocopy::IntoBytes;

use crate::disk::dir_entry::{DirEntryTail, IndexEntry};
use crate::disk::extent::{ExtentTail, tail_offset};
use crate::disk::group_desc::GroupDesc;
use crate::disk::inode::Inode;
use crate::disk::superblock::Superblock;
use crate::disk::xattr::XattrHeader;
use crate::units::{BlockNr, Ino, hi16, lo16};

/// State of a CRC32C over the bytes that it has processed.
///
/// The final inversion of the `crc32c` crate is undone, since ext4 does not use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    /// The empty state, with which the checksums of the superblock and of the journal start.
    pub(crate) const NONE: Self = Self(!0);

    /// The seed of all other checksums of the file system: the CRC32C of its UUID.
    pub(crate) fn of_uuid(uuid: &[u8; 16]) -> Self {
        Self::NONE.crc(uuid)
    }

    /// The seed that the superblock stores, independent of the UUID (`metadata_csum_seed`).
    pub(crate) fn stored(seed: u32) -> Self {
        Self(seed)
    }

    /// The seed of the checksums of an inode and of its blocks.
    pub(crate) fn of_inode(self, ino: Ino, generation: u32) -> Self {
        self.crc(&ino.0.to_le_bytes()).crc(&generation.to_le_bytes())
    }

    /// Continues the CRC over `bytes`.
    pub(crate) fn crc(self, bytes: &[u8]) -> Self {
        Self(!crc32c::crc32c_append(!self.0, bytes))
    }

    /// The checksum.
    pub(crate) fn sum(self) -> u32 {
        self.0
    }

    pub(crate) fn low16(self) -> u16 {
        lo16(self.0)
    }

    pub(crate) fn high16(self) -> u16 {
        hi16(self.0)
    }
}

/// Checksum of a superblock, over all fields before `s_checksum` (`ext4_superblock_csum`).
pub(crate) fn superblock(superblock: &Superblock) -> u32 {
    let covered = offset_of!(Superblock, checksum);
    Seed::NONE.crc(&superblock.as_bytes()[..covered]).sum()
}

/// `bg_checksum`: the low half of the checksum of the group's number and the descriptor, with this
/// field as zeros (`ext4_group_desc_csum`).
pub(crate) fn group_desc(descriptor: &[u8], seed: Seed, group: u32) -> u16 {
    let (before, after) = around_checksum(descriptor);
    let state = seed.crc(&group.to_le_bytes()).crc(before).crc(&[0; 2]);
    state.crc(after).low16()
}

/// `bg_checksum` of file systems with `uninit_bg` and without `metadata_csum`: a CRC-16 of the
/// UUID, the group's number and the descriptor without this field.
pub(crate) fn group_desc_crc16(descriptor: &[u8], uuid: &[u8; 16], group: u32) -> u16 {
    let (before, after) = around_checksum(descriptor);
    [uuid, &group.to_le_bytes()[..], before, after]
        .into_iter()
        .fold(!0, crc16)
}

/// The bytes of a group descriptor before and after its checksum.
fn around_checksum(descriptor: &[u8]) -> (&[u8], &[u8]) {
    let (before, rest) = descriptor.split_at(offset_of!(GroupDesc, checksum));
    (before, &rest[2..])
}

/// Continues a CRC-16 over `bytes` (polynomial 0x8005 reflected, `crc16` of the kernel).
fn crc16(crc: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(crc, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0xA001 } else { 0 }
        })
    })
}

/// Checksum of an inode, over its bytes with the checksum fields as zeros (`ext4_inode_csum`).
/// `seed` covers its number and generation. The field for the high half exists only if
/// `i_extra_isize` includes it.
pub(crate) fn inode(bytes: &[u8], has_high: bool, seed: Seed) -> Seed {
    const LO: usize = offset_of!(Inode, checksum_lo);
    const HI: usize = offset_of!(Inode, checksum_hi);
    let state = seed.crc(&bytes[..LO]).crc(&[0; 2]);
    if has_high {
        state.crc(&bytes[LO + 2..HI]).crc(&[0; 2]).crc(&bytes[HI + 2..])
    } else {
        state.crc(&bytes[LO + 2..])
    }
}

/// Checksum of a block of an extent tree with room for `max_entries` entries, after its offset in
/// the block (`ext4_extent_block_csum`). Returns `None` if the checksum would lie beyond the
/// block.
pub(crate) fn extent_block(block: &[u8], max_entries: usize, inode: Seed) -> Option<(usize, u32)> {
    let tail = tail_offset(max_entries);
    let covered = block
        .get(..tail)
        .filter(|_| tail + size_of::<ExtentTail>() <= block.len())?;
    Some((tail, inode.crc(covered).sum()))
}

/// Checksum of a block of directory entries, over all bytes before its tail
/// (`ext4_dirblock_csum`).
pub(crate) fn directory_block(block: &[u8], inode: Seed) -> u32 {
    inode.crc(&block[..block.len() - size_of::<DirEntryTail>()]).sum()
}

/// Checksum of a node of a directory index whose `count` entries begin at the byte `entries`
/// (`ext4_dx_csum`). It covers all bytes up to the last entry, and the `reserved` bytes that
/// precede the checksum in the tail.
pub(crate) fn index_block(block: &[u8], entries: usize, count: usize, reserved: [u8; 4], inode: Seed) -> u32 {
    let state = inode.crc(&block[..entries + count * size_of::<IndexEntry>()]);
    state.crc(&reserved).crc(&[0; 4]).sum()
}

/// Checksum of a block of extended attributes, over its number and its bytes, with the checksum
/// field as zeros (`ext4_xattr_block_csum`).
pub(crate) fn xattr_block(block: &[u8], nr: BlockNr, seed: Seed) -> u32 {
    const FIELD: usize = offset_of!(XattrHeader, checksum);
    let state = seed.crc(&nr.0.to_le_bytes()).crc(&block[..FIELD]);
    state.crc(&[0; 4]).crc(&block[FIELD + 4..]).sum()
}

/// Checksum of the bytes of a bitmap that represent blocks or inodes
/// (`ext4_block_bitmap_csum_set`).
pub(crate) fn bitmap(covered: &[u8], seed: Seed) -> u32 {
    seed.crc(covered).sum()
}

/// Hash of an attribute's value that is stored in an attribute inode (`ext4_xattr_inode_hash`).
pub(crate) fn value_hash(value: &[u8], seed: Seed) -> u32 {
    seed.crc(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_of_a_uuid_is_what_dumpe2fs_prints() {
        let uuid = 0x1234_5678_1234_5678_9abc_1234_5678_9abc_u128.to_be_bytes();
        assert_eq!(Seed::of_uuid(&uuid), Seed(0xf053_b497));
    }

    #[test]
    fn crc16_of_the_check_string_is_the_ansi_value() {
        assert_eq!(crc16(0, b"123456789"), 0xBB3D);
    }
}
