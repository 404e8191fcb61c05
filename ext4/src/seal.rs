//! Checksums (`metadata_csum`), as the last thing that happens to a structure: only sealed structures reach the image.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromZeros, IntoBytes};

use crate::disk::dir_entry::{DirEntryTail, IndexTail};
use crate::disk::group_desc::GroupDesc;
use crate::disk::inode::Inode;
use crate::disk::journal::JournalSuperblock;
use crate::disk::superblock::Superblock;
use crate::disk::xattr::XattrHeader;
use crate::options::BOOT_AREA_LEN;
use crate::units::{BlockNr, Ino, hi16, lo16};

/// A structure whose checksum is right. Only this module makes one, and the image takes no other metadata.
pub(crate) struct Sealed<T: ?Sized>(T);

impl<T: IntoBytes + zerocopy::Immutable + ?Sized> Sealed<T> {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Sealed<Vec<u8>> {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// State of a CRC32C over what has been summed up so far.
///
/// Ext4 leaves out the final inversion that the `crc32c` crate makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    /// With what every checksum of the file system begins: that of its UUID.
    pub(crate) fn of_uuid(uuid: &[u8; 16]) -> Self {
        Self(!0).crc(uuid)
    }

    /// With what the checksums of an inode and of its blocks begin, for generation 0.
    pub(crate) fn of_inode(self, ino: Ino) -> Self {
        self.crc(&ino.0.to_le_bytes()).crc(&[0; 4])
    }

    /// Hash of an attribute's value that has an inode of its own (`ext4_xattr_inode_hash`).
    pub(crate) fn hash_value(self, value: &[u8]) -> u32 {
        self.crc(value).0
    }

    fn crc(self, bytes: &[u8]) -> Self {
        Self(!crc32c::crc32c_append(!self.0, bytes))
    }

    fn low16(self) -> u16 {
        lo16(self.0)
    }

    fn high16(self) -> u16 {
        hi16(self.0)
    }
}

impl Superblock {
    /// `s_checksum` covers all before it (`ext4_superblock_csum`).
    pub(crate) fn seal(mut self) -> Sealed<Self> {
        let covered = std::mem::offset_of!(Self, checksum);
        self.checksum = Seed(!0).crc(&self.as_bytes()[..covered]).0.into();
        Sealed(self)
    }
}

impl GroupDesc {
    /// `bg_checksum` is the low half of the sum over the group's number and the descriptor (`ext4_group_desc_csum`).
    pub(crate) fn seal(mut self, seed: Seed, group: u32) -> Sealed<Self> {
        self.checksum = U16::ZERO;
        self.checksum = seed.crc(&group.to_le_bytes()).crc(self.as_bytes()).low16().into();
        Sealed(self)
    }
}

impl Inode {
    /// The sum covers the inode's number, its generation and all its bytes (`ext4_inode_csum`).
    pub(crate) fn seal(mut self, seed: Seed, ino: Ino) -> Sealed<Self> {
        self.checksum_lo = U16::ZERO;
        self.checksum_hi = U16::ZERO;
        let sum = seed
            .crc(&ino.0.to_le_bytes())
            .crc(self.generation.as_bytes())
            .crc(self.as_bytes());
        self.checksum_lo = sum.low16().into();
        self.checksum_hi = sum.high16().into();
        Sealed(self)
    }
}

impl JournalSuperblock {
    /// Without a checksum: the kernel switches the journal's own on at the first mount.
    pub(crate) fn seal(self) -> Sealed<Self> {
        Sealed(self)
    }
}

/// The bytes before the superblock, which no sum covers.
pub(crate) fn boot_area(bytes: &[u8; BOOT_AREA_LEN]) -> Sealed<[u8; BOOT_AREA_LEN]> {
    Sealed(*bytes)
}

/// A block of an extent tree: the sum fills the 4 bytes after the room for entries (`ext4_extent_block_csum`).
pub(crate) fn extent_block(mut block: Vec<u8>, inode: Seed) -> Sealed<Vec<u8>> {
    let tail = 12 + (block.len() - 12) / 12 * 12;
    let sum = inode.crc(&block[..tail]).0;
    block[tail..tail + 4].copy_from_slice(&sum.to_le_bytes());
    Sealed(block)
}

/// A block of directory entries: the sum covers all before its tail (`ext4_dirblock_csum`).
pub(crate) fn directory_block(mut block: Vec<u8>, inode: Seed) -> Sealed<Vec<u8>> {
    let tail = block.len() - size_of::<DirEntryTail>();
    let sum = inode.crc(&block[..tail]).0;
    let end = block.len();
    block[end - 4..].copy_from_slice(&sum.to_le_bytes());
    Sealed(block)
}

/// A node of a directory's index, whose `count` entries begin at `entries`: the sum covers them, all before them, and the
/// tail's other half (`ext4_dx_csum`).
pub(crate) fn index_block(mut block: Vec<u8>, inode: Seed, entries: usize, count: usize) -> Sealed<Vec<u8>> {
    let mut tail = IndexTail::new_zeroed();
    let sum = inode.crc(&block[..entries + count * 8]).crc(tail.as_bytes());
    tail.checksum = sum.0.into();
    let end = block.len();
    block[end - size_of::<IndexTail>()..].copy_from_slice(tail.as_bytes());
    Sealed(block)
}

/// A block of extended attributes: the sum begins with the block's number (`ext4_xattr_block_csum`).
pub(crate) fn xattr_block(mut block: Vec<u8>, seed: Seed, nr: BlockNr) -> Sealed<Vec<u8>> {
    let field = std::mem::offset_of!(XattrHeader, checksum);
    block[field..field + 4].fill(0);
    let sum = U32::from(seed.crc(&nr.0.to_le_bytes()).crc(&block).0);
    block[field..field + 4].copy_from_slice(sum.as_bytes());
    Sealed(block)
}

/// A bitmap, and the sum over its first `covered` bytes, which is in the group's descriptor (`ext4_block_bitmap_csum_set`).
pub(crate) fn bitmap(block: Vec<u8>, seed: Seed, covered: usize) -> (Sealed<Vec<u8>>, u32) {
    let sum = seed.crc(&block[..covered]).0;
    (Sealed(block), sum)
}

/// A block that has no checksum: one of the resize inode's map of reserved descriptors.
pub(crate) fn indirect_block(block: Vec<u8>) -> Sealed<Vec<u8>> {
    Sealed(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_of_a_uuid_is_what_dumpe2fs_prints() {
        let uuid = 0x1234_5678_1234_5678_9abc_1234_5678_9abc_u128.to_be_bytes();
        assert_eq!(Seed::of_uuid(&uuid), Seed(0xf053_b497));
    }
}
