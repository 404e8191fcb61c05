//! What the checksums of the format cover, and what they begin with ("Checksums" in the kernel's documentation).

use std::mem::offset_of;

use zerocopy::IntoBytes;

use crate::disk::dir_entry::{DirEntryTail, IndexEntry};
use crate::disk::extent::{ExtentTail, tail_offset};
use crate::disk::group_desc::GroupDesc;
use crate::disk::inode::Inode;
use crate::disk::superblock::Superblock;
use crate::disk::xattr::XattrHeader;
use crate::units::{BlockNr, Ino, hi16, lo16};

/// State of a CRC32C over what has been summed up so far.
///
/// Ext4 leaves out the final inversion that the `crc32c` crate makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    /// With nothing before it, as the superblock's checksum and those of the journal begin.
    pub(crate) const NONE: Self = Self(!0);

    /// With what every checksum of the file system begins: that of its UUID.
    pub(crate) fn of_uuid(uuid: &[u8; 16]) -> Self {
        Self::NONE.crc(uuid)
    }

    /// With what the superblock says that every checksum begins (`metadata_csum_seed`).
    pub(crate) fn stored(seed: u32) -> Self {
        Self(seed)
    }

    /// With what the checksums of an inode and of its blocks begin.
    pub(crate) fn of_inode(self, ino: Ino, generation: u32) -> Self {
        self.crc(&ino.0.to_le_bytes()).crc(&generation.to_le_bytes())
    }

    pub(crate) fn crc(self, bytes: &[u8]) -> Self {
        Self(!crc32c::crc32c_append(!self.0, bytes))
    }

    /// The sum itself.
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

/// `s_checksum` covers all before it (`ext4_superblock_csum`).
pub(crate) fn superblock(superblock: &Superblock) -> u32 {
    let covered = offset_of!(Superblock, checksum);
    Seed::NONE.crc(&superblock.as_bytes()[..covered]).sum()
}

/// `bg_checksum` is the low half of the sum over the group's number and the descriptor without it (`ext4_group_desc_csum`).
pub(crate) fn group_desc(descriptor: &[u8], seed: Seed, group: u32) -> u16 {
    let (before, after) = around_checksum(descriptor);
    let sum = seed.crc(&group.to_le_bytes()).crc(before).crc(&[0; 2]);
    sum.crc(after).low16()
}

/// The same of file systems with `uninit_bg` and no other checksums: a CRC-16.
pub(crate) fn group_desc_crc16(descriptor: &[u8], uuid: &[u8; 16], group: u32) -> u16 {
    let (before, after) = around_checksum(descriptor);
    [uuid, &group.to_le_bytes()[..], before, after]
        .into_iter()
        .fold(!0, crc16)
}

fn around_checksum(descriptor: &[u8]) -> (&[u8], &[u8]) {
    let (before, rest) = descriptor.split_at(offset_of!(GroupDesc, checksum));
    (before, &rest[2..])
}

fn crc16(sum: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(sum, |sum, &byte| {
        (0..8).fold(sum ^ u16::from(byte), |sum, _| {
            sum >> 1 ^ if sum & 1 == 1 { 0xA001 } else { 0 }
        })
    })
}

/// The sum covers the inode's number, its generation and all its bytes but the sum (`ext4_inode_csum`). Its high half is only
/// there if `i_extra_isize` reaches so far.
pub(crate) fn inode(bytes: &[u8], has_high: bool, seed: Seed) -> Seed {
    const LO: usize = offset_of!(Inode, checksum_lo);
    const HI: usize = offset_of!(Inode, checksum_hi);
    let sum = seed.crc(&bytes[..LO]).crc(&[0; 2]);
    if has_high {
        sum.crc(&bytes[LO + 2..HI]).crc(&[0; 2]).crc(&bytes[HI + 2..])
    } else {
        sum.crc(&bytes[LO + 2..])
    }
}

/// A block of an extent tree with room for so many entries: where the sum lies, and what it is (`ext4_extent_block_csum`).
pub(crate) fn extent_block(block: &[u8], max_entries: usize, inode: Seed) -> Option<(usize, u32)> {
    let tail = tail_offset(max_entries);
    let covered = block
        .get(..tail)
        .filter(|_| tail + size_of::<ExtentTail>() <= block.len())?;
    Some((tail, inode.crc(covered).sum()))
}

/// A block of directory entries: the sum covers all before its tail (`ext4_dirblock_csum`).
pub(crate) fn directory_block(block: &[u8], inode: Seed) -> u32 {
    inode.crc(&block[..block.len() - size_of::<DirEntryTail>()]).sum()
}

/// A node of a directory's index, whose `count` entries begin at `entries`: the sum covers them, all before them, and what
/// the tail holds before the sum (`ext4_dx_csum`).
pub(crate) fn index_block(block: &[u8], entries: usize, count: usize, reserved: [u8; 4], inode: Seed) -> u32 {
    let sum = inode.crc(&block[..entries + count * size_of::<IndexEntry>()]);
    sum.crc(&reserved).crc(&[0; 4]).sum()
}

/// A block of extended attributes: the sum begins with the block's number (`ext4_xattr_block_csum`).
pub(crate) fn xattr_block(block: &[u8], nr: BlockNr, seed: Seed) -> u32 {
    const FIELD: usize = offset_of!(XattrHeader, checksum);
    let sum = seed.crc(&nr.0.to_le_bytes()).crc(&block[..FIELD]);
    sum.crc(&[0; 4]).crc(&block[FIELD + 4..]).sum()
}

/// A bitmap's first bytes, those that stand for something (`ext4_block_bitmap_csum_set`).
pub(crate) fn bitmap(covered: &[u8], seed: Seed) -> u32 {
    seed.crc(covered).sum()
}

/// Hash of an attribute's value that has an inode of its own (`ext4_xattr_inode_hash`).
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
    fn the_crc_16_is_that_of_ansi() {
        assert_eq!(crc16(0, b"123456789"), 0xBB3D);
    }
}
