//! Checks extended attributes: those in an inode or in a shared block, and values in value inodes.

use std::iter;

use zerocopy::FromBytes;

use super::inodes::CheckedInode;
use super::value_inodes::XattrOwner;
use super::{Checker, InodeFeature, Problem};
use crate::disk::features::Features;
use crate::disk::xattr::{
    self, HIDDEN_NAMESPACES, MAGIC, MAX_REFCOUNT, MAX_VALUE_LEN, NameBytes, TERMINATOR, XattrEntry, XattrHeader,
};
use crate::read::checksums::xattr_block_checksum_ok;
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::units::BlockNr;

/// Use of a block of attributes by inodes.
pub(super) struct XattrBlockUse {
    /// One of the inodes that use the block.
    ino: u32,
    /// Number of inodes that use the block, according to its header.
    refcount: u32,
    /// Number of inodes found to use the block.
    users: u32,
    /// Number of blocks of value inodes that its attributes use.
    value_blocks: u64,
}

/// Bytes of the image that hold attributes.
struct XattrArea<'a> {
    owner: XattrOwner,
    structure: Structure,
    bytes: &'a [u8],
    /// Offset of the first entry in the bytes.
    first: usize,
    /// Set for a block of attributes. Its entries are ordered, and each has a hash.
    is_block: bool,
}

impl<R: ReadAt> Checker<R> {
    /// Checks the attributes of an inode. Returns the number of blocks that they take.
    pub(super) fn check_xattrs(&mut self, checked: &CheckedInode) -> Result<u64, ReadError> {
        let mut blocks = 0;
        let area = checked.xattr_area();
        let owner = XattrOwner {
            ino: checked.ino.get(),
            generation: checked.inode.generation.get(),
        };
        if let Some(rest) = area.strip_prefix(&MAGIC.to_le_bytes()) {
            let area = XattrArea {
                owner,
                structure: checked.structure(),
                bytes: rest,
                first: 0,
                is_block: false,
            };
            blocks += self.check_xattr_entries(&area)?;
        }
        let Some(block) = checked.inode.xattr_block() else {
            return Ok(blocks);
        };
        let has_feature = self.reader.superblock().has(Features::EXT_ATTR);
        let needs = InodeFeature::XattrBlock;
        self.require(has_feature, checked.structure(), Problem::FeatureMissing { needs });
        let block = block.get();
        if let Some(block_use) = self.xattr_blocks.get_mut(&block) {
            block_use.users += 1;
            return Ok(blocks + 1 + block_use.value_blocks);
        }
        let ino = checked.ino.get();
        let structure = Structure::XattrBlock { ino, block };
        if !self.claim_blocks(structure, BlockNr(block), 1) {
            return Ok(blocks);
        }
        let Some(bytes) = self.read_nonzero_block(structure, block)? else {
            return Ok(blocks);
        };
        let (header, _) = XattrHeader::ref_from_prefix(&bytes).expect("a block has room for its header");
        let mut block_use = XattrBlockUse {
            ino,
            refcount: header.refcount.get(),
            users: 1,
            value_blocks: 0,
        };
        if header.magic.get() == MAGIC {
            let is_right = header.blocks.get() == 1 && block_use.refcount <= MAX_REFCOUNT;
            self.require(is_right, structure, Problem::XattrHeaderWrong);
            let is_wrong = |seed| !xattr_block_checksum_ok(&bytes, header, BlockNr(block), seed);
            if self.reader.checksum_mode().seed().is_some_and(is_wrong) {
                self.report(structure, Problem::ChecksumWrong);
            }
            let area = XattrArea {
                owner,
                structure,
                bytes: &bytes,
                first: size_of::<XattrHeader>(),
                is_block: true,
            };
            block_use.value_blocks = self.check_xattr_entries(&area)?;
        } else {
            self.report(structure, Problem::XattrBlockWrong);
        }
        blocks += 1 + block_use.value_blocks;
        self.xattr_blocks.insert(block, block_use);
        Ok(blocks)
    }

    /// Checks entries and their values. Returns the number of blocks of value inodes that they
    /// use.
    fn check_xattr_entries(&mut self, area: &XattrArea<'_>) -> Result<u64, ReadError> {
        let structure = area.structure;
        let mut blocks = 0;
        let mut at = area.first;
        let mut values: Vec<(usize, usize)> = Vec::new();
        let mut last: Option<(u8, u8, &[u8])> = None;
        let mut hashes = Vec::new();
        loop {
            let rest = area.bytes.get(at..).unwrap_or_default();
            if rest.len() < TERMINATOR {
                self.report(structure, Problem::XattrsUnterminated);
                return Ok(blocks);
            }
            if rest[..TERMINATOR] == [0; TERMINATOR] {
                break;
            }
            let Ok((entry, names)) = XattrEntry::ref_from_prefix(rest) else {
                self.report(structure, Problem::XattrsUnterminated);
                return Ok(blocks);
            };
            let name_len = usize::from(entry.name_len);
            let Some(name) = names.get(..name_len) else {
                self.report(structure, Problem::XattrNameOutside);
                return Ok(blocks);
            };
            at += entry.len();
            self.check_xattr_name(area, entry, name, &mut last);
            let found = entry.hash.get();
            hashes.push(found);
            let expected = self.check_xattr_value(area, entry, name, &mut values, &mut blocks)?;
            if expected.is_some_and(|expected| !expected.contains(&found)) && (found != 0 || area.is_block) {
                self.report(structure, Problem::XattrHashWrong { name: name.into() });
            }
        }
        values.sort_unstable();
        let overlaps = values.windows(2).any(|pair| pair[1].0 < pair[0].1);
        let is_right = !overlaps && values.first().is_none_or(|(start, _)| *start >= at + TERMINATOR);
        self.require(is_right, structure, Problem::XattrValuesOverlap);
        if area.is_block {
            let (header, _) = XattrHeader::ref_from_prefix(area.bytes).expect("a block has room for its header");
            let is_right = [0, xattr::block_hash(hashes)].contains(&header.hash.get());
            self.require(is_right, structure, Problem::XattrBlockHashWrong);
        }
        Ok(blocks)
    }

    /// Checks the name of an attribute, and in a block its order.
    fn check_xattr_name<'a>(
        &mut self,
        area: &XattrArea<'_>,
        entry: &XattrEntry,
        name: &'a [u8],
        last: &mut Option<(u8, u8, &'a [u8])>,
    ) {
        let namespace = entry.name_index;
        let is_known = xattr::namespace(namespace).is_some() || HIDDEN_NAMESPACES.contains(&namespace);
        if !is_known || name.is_empty() != xattr::is_acl(namespace) || name.contains(&0) {
            let name = name.into();
            self.report(area.structure, Problem::XattrNameWrong { name, namespace });
        }
        let current = (entry.name_index, entry.name_len, name);
        if area.is_block && last.is_some_and(|last| last >= current) {
            self.report(area.structure, Problem::XattrOutOfOrder { name: name.into() });
        }
        *last = Some(current);
    }

    /// Checks a value. Returns the hashes that its entry may have, or `None` if they are unknown.
    fn check_xattr_value(
        &mut self,
        area: &XattrArea<'_>,
        entry: &XattrEntry,
        name: &[u8],
        values: &mut Vec<(usize, usize)>,
        blocks: &mut u64,
    ) -> Result<Option<[u32; 2]>, ReadError> {
        let structure = area.structure;
        let len = usize::try_from(entry.value_size.get()).unwrap_or(usize::MAX);
        if entry.value_inum.get() != 0 {
            return self.check_value_in_inode(area, entry, name, blocks);
        }
        let offset = usize::from(entry.value_offs.get());
        let value = if len == 0 {
            &[]
        } else {
            let Some(value) = area.bytes.get(offset..).and_then(|bytes| bytes.get(..len)) else {
                self.report(structure, Problem::XattrValueOutside);
                return Ok(None);
            };
            value
        };
        if len > 0 {
            values.push((offset, offset + len.next_multiple_of(4)));
        }
        // Values that take more than the whole area overlap, which is reported. Hashing each of
        // them would take too long.
        if values.iter().map(|(start, end)| end - start).sum::<usize>() > area.bytes.len() {
            return Ok(None);
        }
        Ok(Some(hashes(name, &xattr::value_words(value))))
    }

    /// Checks a value in an inode of its own. Adds the number of its blocks to `blocks`.
    fn check_value_in_inode(
        &mut self,
        area: &XattrArea<'_>,
        entry: &XattrEntry,
        name: &[u8],
        blocks: &mut u64,
    ) -> Result<Option<[u32; 2]>, ReadError> {
        let structure = area.structure;
        let ino = entry.value_inum.get();
        let len = usize::try_from(entry.value_size.get()).unwrap_or(usize::MAX);
        if !self.reader.superblock().has(Features::EA_INODE) || !(1..=MAX_VALUE_LEN).contains(&len) {
            self.report(structure, Problem::XattrValueInodeUnexpected { ino, size: len as u64 });
            return Ok(None);
        }
        let value_blocks = (len as u64).div_ceil(self.reader.block_size() as u64);
        let Some((value_inode, is_legacy)) = self.use_value_inode(ino, area.owner)? else {
            *blocks += value_blocks;
            return Ok(None);
        };
        // Legacy value inodes are not counted in the owner's blocks.
        *blocks += if is_legacy { 0 } else { value_blocks };
        let (found, expected) = (value_inode.size, len as u64);
        let problem = Problem::XattrValueSizeWrong { ino, found, expected };
        self.require(found == expected, structure, problem);
        let hash = value_inode.hash.filter(|_| !is_legacy);
        Ok(hash.map(|hash| hashes(name, &iter::once(hash))))
    }

    /// Compares the reference counts of blocks of attributes with the inodes that have them.
    pub(super) fn check_xattr_block_references(&mut self) {
        for (&block, block_use) in &self.xattr_blocks {
            let structure = Structure::XattrBlock {
                ino: block_use.ino,
                block,
            };
            let (found, expected) = (block_use.refcount, block_use.users);
            let problem = Problem::XattrBlockReferencesWrong { found, expected };
            self.findings.require(found == expected, structure, problem);
        }
    }
}

/// Returns the two hashes that an attribute may have: old kernels took the bytes of its name as
/// signed.
fn hashes(name: &[u8], words: &(impl Iterator<Item = u32> + Clone)) -> [u32; 2] {
    [NameBytes::Unsigned, NameBytes::Signed].map(|bytes| xattr::entry_hash(name, bytes, words.clone()))
}
