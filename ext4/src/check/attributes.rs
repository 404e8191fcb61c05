//! Extended attributes: in the inode, in a block that inodes share, and in inodes of their own.

use std::iter;

use zerocopy::FromBytes;

use super::inodes::CheckedInode;
use super::values::Owner;
use super::{Check, InodeFeature, Problem};
use crate::disk::features::Features;
use crate::disk::xattr::{
    self, HIDDEN_NAMESPACES, MAGIC, MAX_REFCOUNT, MAX_VALUE_LEN, NameBytes, TERMINATOR, XattrEntry, XattrHeader,
};
use crate::read::sums::is_right_xattr_block;
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::units::BlockNr;

/// The use of a block of attributes.
pub(super) struct Sharing {
    /// An inode that has it.
    ino: u32,
    /// Inodes that have it, by its own count.
    refcount: u32,
    /// Inodes that have it.
    found: u32,
    /// Blocks of its values that have inodes of their own.
    value_blocks: u64,
}

/// A part of the image that holds attributes.
struct Room<'a> {
    owner: Owner,
    structure: Structure,
    bytes: &'a [u8],
    /// Offset of the first entry in the bytes.
    first: usize,
    /// It is a block: its entries are in order, and each has a hash.
    is_block: bool,
}

impl<R: ReadAt> Check<R> {
    /// Checks the attributes of an inode, and returns the number of blocks that they take.
    pub(super) fn attributes(&mut self, checked: &CheckedInode) -> Result<u64, ReadError> {
        let mut blocks = 0;
        let room = checked.room();
        let owner = Owner {
            ino: checked.ino.get(),
            generation: checked.inode.generation.get(),
        };
        if let Some(rest) = room.strip_prefix(&MAGIC.to_le_bytes()) {
            let room = Room {
                owner,
                structure: checked.structure(),
                bytes: rest,
                first: 0,
                is_block: false,
            };
            blocks += self.entries_of(&room)?;
        }
        let Some(block) = checked.inode.xattr_block() else {
            return Ok(blocks);
        };
        let has_feature = self.reader.superblock().has(Features::EXT_ATTR);
        let needs = InodeFeature::XattrBlock;
        self.expect(has_feature, checked.structure(), Problem::FeatureMissing { needs });
        let block = block.get();
        if let Some(sharing) = self.xattr_blocks.get_mut(&block) {
            sharing.found += 1;
            return Ok(blocks + 1 + sharing.value_blocks);
        }
        let ino = checked.ino.get();
        let structure = Structure::XattrBlock { ino, block };
        if !self.claim(structure, BlockNr(block), 1) {
            return Ok(blocks);
        }
        let Some(bytes) = self.filled_block(structure, block)? else {
            return Ok(blocks);
        };
        let (header, _) = XattrHeader::ref_from_prefix(&bytes).expect("a block has room for its header");
        let mut sharing = Sharing {
            ino,
            refcount: header.refcount.get(),
            found: 1,
            value_blocks: 0,
        };
        if header.magic.get() == MAGIC {
            let is_right = header.blocks.get() == 1 && sharing.refcount <= MAX_REFCOUNT;
            self.expect(is_right, structure, Problem::XattrHeaderWrong);
            let is_wrong = |seed| !is_right_xattr_block(&bytes, header, BlockNr(block), seed);
            if self.reader.sums().seed().is_some_and(is_wrong) {
                self.find(structure, Problem::ChecksumWrong);
            }
            let room = Room {
                owner,
                structure,
                bytes: &bytes,
                first: size_of::<XattrHeader>(),
                is_block: true,
            };
            sharing.value_blocks = self.entries_of(&room)?;
        } else {
            self.find(structure, Problem::XattrBlockWrong);
        }
        blocks += 1 + sharing.value_blocks;
        self.xattr_blocks.insert(block, sharing);
        Ok(blocks)
    }

    /// Checks entries and values. Returns the number of blocks of values with inodes of their own.
    fn entries_of(&mut self, room: &Room<'_>) -> Result<u64, ReadError> {
        let structure = room.structure;
        let mut blocks = 0;
        let mut at = room.first;
        let mut values: Vec<(usize, usize)> = Vec::new();
        let mut last: Option<(u8, u8, &[u8])> = None;
        let mut hashes = Vec::new();
        loop {
            let rest = room.bytes.get(at..).unwrap_or_default();
            if rest.len() < TERMINATOR {
                self.find(structure, Problem::XattrsUnterminated);
                return Ok(blocks);
            }
            if rest[..TERMINATOR] == [0; TERMINATOR] {
                break;
            }
            let Ok((entry, names)) = XattrEntry::ref_from_prefix(rest) else {
                self.find(structure, Problem::XattrsUnterminated);
                return Ok(blocks);
            };
            let name_len = usize::from(entry.name_len);
            let Some(name) = names.get(..name_len) else {
                self.find(structure, Problem::XattrNameOutside);
                return Ok(blocks);
            };
            at += entry.len();
            self.name(room, entry, name, &mut last);
            let found = entry.hash.get();
            hashes.push(found);
            let expected = self.value(room, entry, name, &mut values, &mut blocks)?;
            if expected.is_some_and(|expected| !expected.contains(&found)) && (found != 0 || room.is_block) {
                self.find(structure, Problem::XattrHashWrong { name: name.into() });
            }
        }
        values.sort_unstable();
        let overlaps = values.windows(2).any(|pair| pair[1].0 < pair[0].1);
        let is_right = !overlaps && values.first().is_none_or(|(start, _)| *start >= at + TERMINATOR);
        self.expect(is_right, structure, Problem::XattrValuesOverlap);
        if room.is_block {
            let (header, _) = XattrHeader::ref_from_prefix(room.bytes).expect("a block has room for its header");
            let is_right = [0, xattr::block_hash(hashes)].contains(&header.hash.get());
            self.expect(is_right, structure, Problem::XattrBlockHashWrong);
        }
        Ok(blocks)
    }

    fn name<'a>(&mut self, room: &Room<'_>, entry: &XattrEntry, name: &'a [u8], last: &mut Option<(u8, u8, &'a [u8])>) {
        let namespace = entry.name_index;
        let is_known = xattr::namespace(namespace).is_some() || HIDDEN_NAMESPACES.contains(&namespace);
        if !is_known || name.is_empty() != xattr::is_acl(namespace) || name.contains(&0) {
            let name = name.into();
            self.find(room.structure, Problem::XattrNameWrong { name, namespace });
        }
        let this = (entry.name_index, entry.name_len, name);
        if room.is_block && last.is_some_and(|last| last >= this) {
            self.find(room.structure, Problem::XattrOutOfOrder { name: name.into() });
        }
        *last = Some(this);
    }

    /// Checks a value. Returns the hashes that its entry may have.
    fn value(
        &mut self,
        room: &Room<'_>,
        entry: &XattrEntry,
        name: &[u8],
        values: &mut Vec<(usize, usize)>,
        blocks: &mut u64,
    ) -> Result<Option<[u32; 2]>, ReadError> {
        let structure = room.structure;
        let len = usize::try_from(entry.value_size.get()).unwrap_or(usize::MAX);
        if entry.value_inum.get() != 0 {
            return self.value_inode(room, entry, name, blocks);
        }
        let offset = usize::from(entry.value_offs.get());
        let value = if len == 0 {
            &[]
        } else {
            let Some(value) = room.bytes.get(offset..).and_then(|bytes| bytes.get(..len)) else {
                self.find(structure, Problem::XattrValueOutside);
                return Ok(None);
            };
            value
        };
        if len > 0 {
            values.push((offset, offset + len.next_multiple_of(4)));
        }
        // Such overlap, and would be read for each entry again.
        if values.iter().map(|(start, end)| end - start).sum::<usize>() > room.bytes.len() {
            return Ok(None);
        }
        Ok(Some(hashes(name, &xattr::value_words(value))))
    }

    /// Checks a value in an inode of its own.
    fn value_inode(
        &mut self,
        room: &Room<'_>,
        entry: &XattrEntry,
        name: &[u8],
        blocks: &mut u64,
    ) -> Result<Option<[u32; 2]>, ReadError> {
        let structure = room.structure;
        let ino = entry.value_inum.get();
        let len = usize::try_from(entry.value_size.get()).unwrap_or(usize::MAX);
        if !self.reader.superblock().has(Features::EA_INODE) || !(1..=MAX_VALUE_LEN).contains(&len) {
            self.find(structure, Problem::XattrValueInodeUnexpected { ino, size: len as u64 });
            return Ok(None);
        }
        let value_blocks = (len as u64).div_ceil(self.reader.block_size() as u64);
        let Some((holder, is_old)) = self.holder(ino, room.owner)? else {
            *blocks += value_blocks;
            return Ok(None);
        };
        // Nor were its blocks counted.
        *blocks += if is_old { 0 } else { value_blocks };
        let (found, expected) = (holder.size, len as u64);
        let problem = Problem::XattrValueSizeWrong { ino, found, expected };
        self.expect(found == expected, structure, problem);
        let hash = holder.hash.filter(|_| !is_old);
        Ok(hash.map(|hash| hashes(name, &iter::once(hash))))
    }

    /// Compares the counts of blocks of attributes with the inodes that have them.
    pub(super) fn xattr_blocks_in_use(&mut self) {
        for (&block, sharing) in &self.xattr_blocks {
            let structure = Structure::XattrBlock {
                ino: sharing.ino,
                block,
            };
            let (found, expected) = (sharing.refcount, sharing.found);
            let problem = Problem::XattrBlockReferencesWrong { found, expected };
            self.findings.expect(found == expected, structure, problem);
        }
    }
}

/// The two hashes that an attribute may have: old kernels took the bytes of its name as signed.
fn hashes(name: &[u8], words: &(impl Iterator<Item = u32> + Clone)) -> [u32; 2] {
    [NameBytes::Unsigned, NameBytes::Signed].map(|bytes| xattr::entry_hash(name, bytes, words.clone()))
}
