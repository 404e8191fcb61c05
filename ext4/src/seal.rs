//! [`Sealed`]: structures with their checksums (`metadata_csum`), the only metadata that is
//! written.
//!
//! To add a kind of structure:
//!
//! 1. `disk/`: its type, with `assert_layout!`.
//! 2. `checksum.rs`: a function that computes its checksum; the reader uses it as well.
//! 3. Here: a function or `seal` method that stores the checksum and returns a [`Sealed`].
//! 4. `format/table_writer.rs`: code that writes it with `BlockWriter`.
//! 5. `read/`: the verification of the checksum, beside those of the other structures.
//! 6. `check/problem.rs`: the problems that the check finds in it, with codes, and `CHECK.md`.

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

/// A structure with a valid checksum. Only this module creates it, and `BlockWriter` accepts no
/// other metadata.
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
        let crc = checksum::inode(self.as_bytes(), true, seed.of_inode(ino, self.generation.get()));
        self.checksum_lo = crc.low16().into();
        self.checksum_hi = crc.high16().into();
        Sealed(self)
    }
}

impl JournalSuperblock {
    /// Seals without a checksum: the kernel turns on the journal's own checksums at the first
    /// mount.
    pub(crate) fn seal(self) -> Sealed<Self> {
        Sealed(self)
    }
}

/// Seals the bytes before the superblock, which no checksum covers.
pub(crate) fn boot_area(bytes: &[u8; BOOT_AREA_LEN]) -> Sealed<[u8; BOOT_AREA_LEN]> {
    Sealed(*bytes)
}

/// Seals a block of an extent tree. Its header must allow the most entries that fit, since the
/// checksum follows them.
pub(crate) fn extent_block(mut block: Vec<u8>, inode: Seed) -> Sealed<Vec<u8>> {
    let max_entries = max_entries(block.len());
    let (tail, crc) = checksum::extent_block(&block, max_entries, inode).expect("a block has room for its tail");
    let (tail, _) = ExtentTail::mut_from_prefix(&mut block[tail..]).expect("a block has room for its tail");
    tail.checksum = crc.into();
    Sealed(block)
}

/// Seals a block of directory entries.
pub(crate) fn directory_block(mut block: Vec<u8>, inode: Seed) -> Sealed<Vec<u8>> {
    let crc = checksum::directory_block(&block, inode);
    let (_, tail) = DirEntryTail::mut_from_suffix(&mut block).expect("a block has room for its tail");
    tail.checksum = crc.into();
    Sealed(block)
}

/// Seals a node of a directory index whose `count` entries begin at the byte `entries`.
pub(crate) fn index_block(mut block: Vec<u8>, inode: Seed, entries: usize, count: usize) -> Sealed<Vec<u8>> {
    let crc = checksum::index_block(&block, entries, count, [0; 4], inode);
    let (_, tail) = IndexTail::mut_from_suffix(&mut block).expect("a block has room for its tail");
    tail.checksum = crc.into();
    Sealed(block)
}

/// Seals a block of extended attributes.
pub(crate) fn xattr_block(mut block: Vec<u8>, seed: Seed, nr: BlockNr) -> Sealed<Vec<u8>> {
    let crc = checksum::xattr_block(&block, nr, seed);
    let (header, _) = XattrHeader::mut_from_prefix(&mut block).expect("a block has room for its header");
    header.checksum = crc.into();
    Sealed(block)
}

/// Seals a bitmap, and returns the checksum of its first `covered` bytes, which the group
/// descriptor holds.
pub(crate) fn bitmap(block: Vec<u8>, seed: Seed, covered: usize) -> (Sealed<Vec<u8>>, u32) {
    let crc = checksum::bitmap(&block[..covered], seed);
    (Sealed(block), crc)
}

/// Seals a block without a checksum: an indirect block of the resize inode's map.
pub(crate) fn indirect_block(block: Vec<u8>) -> Sealed<Vec<u8>> {
    Sealed(block)
}
