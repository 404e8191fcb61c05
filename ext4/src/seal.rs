//! Checksums (`metadata_csum`), as the last thing that happens to a structure: only sealed structures reach the image.

use zerocopy::{FromBytes, IntoBytes};

use crate::checksum::{self, Seed};
use crate::disk::dir_entry::{DirEntryTail, IndexTail};
use crate::disk::extent::{ExtentTail, max_entries};
use crate::disk::group_desc::GroupDesc;
use crate::disk::inode::Inode;
use crate::disk::journal::JournalSuperblock;
use crate::disk::superblock::Superblock;
use crate::disk::xattr::XattrHeader;
use crate::options::BOOT_AREA_LEN;
use crate::units::{BlockNr, Ino};

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

impl Superblock {
    pub(crate) fn seal(mut self) -> Sealed<Self> {
        self.checksum = checksum::superblock(&self).into();
        Sealed(self)
    }
}

impl GroupDesc {
    pub(crate) fn seal(mut self, seed: Seed, group: u32) -> Sealed<Self> {
        self.checksum = checksum::group_desc(self.as_bytes(), seed, group).into();
        Sealed(self)
    }
}

impl Inode {
    pub(crate) fn seal(mut self, seed: Seed, ino: Ino) -> Sealed<Self> {
        let sum = checksum::inode(self.as_bytes(), true, seed.of_inode(ino, self.generation.get()));
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

/// A block of an extent tree, which is as full of room for entries as it can be.
pub(crate) fn extent_block(mut block: Vec<u8>, inode: Seed) -> Sealed<Vec<u8>> {
    let max_entries = max_entries(block.len());
    let (tail, sum) = checksum::extent_block(&block, max_entries, inode).expect("a block has room for its tail");
    let (tail, _) = ExtentTail::mut_from_prefix(&mut block[tail..]).expect("a block has room for its tail");
    tail.checksum = sum.into();
    Sealed(block)
}

/// A block of directory entries.
pub(crate) fn directory_block(mut block: Vec<u8>, inode: Seed) -> Sealed<Vec<u8>> {
    let sum = checksum::directory_block(&block, inode);
    let (_, tail) = DirEntryTail::mut_from_suffix(&mut block).expect("a block has room for its tail");
    tail.checksum = sum.into();
    Sealed(block)
}

/// A node of a directory's index, whose `count` entries begin at `entries`.
pub(crate) fn index_block(mut block: Vec<u8>, inode: Seed, entries: usize, count: usize) -> Sealed<Vec<u8>> {
    let sum = checksum::index_block(&block, entries, count, [0; 4], inode);
    let (_, tail) = IndexTail::mut_from_suffix(&mut block).expect("a block has room for its tail");
    tail.checksum = sum.into();
    Sealed(block)
}

/// A block of extended attributes.
pub(crate) fn xattr_block(mut block: Vec<u8>, seed: Seed, nr: BlockNr) -> Sealed<Vec<u8>> {
    let sum = checksum::xattr_block(&block, nr, seed);
    let (header, _) = XattrHeader::mut_from_prefix(&mut block).expect("a block has room for its header");
    header.checksum = sum.into();
    Sealed(block)
}

/// A bitmap, and the sum over its first `covered` bytes, which is in the group's descriptor.
pub(crate) fn bitmap(block: Vec<u8>, seed: Seed, covered: usize) -> (Sealed<Vec<u8>>, u32) {
    let sum = checksum::bitmap(&block[..covered], seed);
    (Sealed(block), sum)
}

/// A block that has no checksum: one of the resize inode's map of reserved descriptors.
pub(crate) fn indirect_block(block: Vec<u8>) -> Sealed<Vec<u8>> {
    Sealed(block)
}
