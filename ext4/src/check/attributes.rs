//! Extended attributes: in the inode, in a block that inodes share, and in inodes of their own.

use std::io::{Read, Seek};

use zerocopy::FromBytes;

use super::inodes::Checked;
use super::values::Owner;
use super::{Check, InodeFeature, Problem};
use crate::disk::xattr::{HIDDEN_NAMESPACES, MAGIC, MAX_REFCOUNT, XattrEntry, XattrHeader};
use crate::encode::xattrs::{MAX_VALUE_LEN, NAMESPACES};
use crate::read::facts::{compat, incompat};
use crate::read::sums::is_right_xattr_block;
use crate::read::{ReadError, Structure};
use crate::units::BlockNr;

/// Bytes after the last entry that must be zero.
const TERMINATOR: usize = 4;

/// How a block of attributes is used.
pub(super) struct Sharing {
    /// An inode that has it.
    ino: u32,
    /// Inodes that have it, as it says.
    refcount: u32,
    /// Inodes that have it.
    found: u32,
    /// Blocks of the values that have inodes of their own.
    value_blocks: u64,
}

/// What holds attributes.
struct Room<'a> {
    owner: Owner,
    structure: Structure,
    bytes: &'a [u8],
    /// Where the first entry is, from the start of the bytes.
    first: usize,
    /// Whether every entry has a hash, and they are in order.
    is_block: bool,
}

impl<R: Read + Seek> Check<R> {
    /// Checks the attributes of an inode, and returns how many blocks it has of them.
    pub(super) fn attributes(&mut self, checked: &Checked) -> Result<u64, ReadError> {
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
        let block = checked.xattr_block();
        if block == 0 {
            return Ok(blocks);
        }
        let has_feature = self.reader.superblock().has_compat(compat::EXT_ATTR);
        self.expect(
            has_feature,
            checked.structure(),
            Problem::FeatureMissing {
                needs: InodeFeature::XattrBlock,
            },
        );
        if let Some(sharing) = self.xattr_blocks.get_mut(&block) {
            sharing.found += 1;
            return Ok(blocks + 1 + sharing.value_blocks);
        }
        let ino = checked.ino.get();
        let structure = Structure::XattrBlock { ino, block };
        if !self.own(structure, BlockNr(block), 1) {
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
            if let Some(seed) = self.reader.sums().seed()
                && !is_right_xattr_block(&bytes, header, BlockNr(block), seed)
            {
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

    /// Checks entries and values, and returns how many blocks the values have that lie in inodes of their own.
    fn entries_of(&mut self, room: &Room<'_>) -> Result<u64, ReadError> {
        let structure = room.structure;
        let mut blocks = 0;
        let mut at = room.first;
        let mut values: Vec<(usize, usize)> = Vec::new();
        let mut last: Option<(u8, u8, &[u8])> = None;
        let mut all_hashes = Some(0u32);
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
            at += size_of::<XattrEntry>() + name_len.next_multiple_of(4);
            self.name(room, entry, name, &mut last);
            let hash = self.value(room, entry, name, &mut values, &mut blocks)?;
            all_hashes = all_hashes
                .filter(|_| entry.hash.get() != 0)
                .map(|all| all.rotate_left(16) ^ entry.hash.get());
            let is_right = match hash {
                Some((unsigned, signed)) => {
                    let found = entry.hash.get();
                    found == unsigned || found == signed || found == 0 && !room.is_block
                }
                None => true,
            };
            if !is_right {
                self.find(structure, Problem::XattrHashWrong { name: name.into() });
            }
        }
        values.sort_unstable();
        let overlaps = values.windows(2).any(|pair| pair[1].0 < pair[0].1);
        let is_right = !overlaps && values.first().is_none_or(|(start, _)| *start >= at + TERMINATOR);
        self.expect(is_right, structure, Problem::XattrValuesOverlap);
        if room.is_block {
            let (header, _) = XattrHeader::ref_from_prefix(room.bytes).expect("a block has room for its header");
            let is_right = [0, all_hashes.unwrap_or(0)].contains(&header.hash.get());
            self.expect(is_right, structure, Problem::XattrBlockHashWrong);
        }
        Ok(blocks)
    }

    fn name<'a>(&mut self, room: &Room<'_>, entry: &XattrEntry, name: &'a [u8], last: &mut Option<(u8, u8, &'a [u8])>) {
        // A block has none without a namespace.
        let is_bare = entry.name_index == 0 && !room.is_block;
        let is_known = is_bare || NAMESPACES.iter().any(|(_, index)| *index == entry.name_index);
        let is_acl = matches!(entry.name_index, 2 | 3);
        let is_known = is_known || HIDDEN_NAMESPACES.contains(&entry.name_index);
        if !is_known || name.is_empty() != is_acl || name.contains(&0) {
            let problem = Problem::XattrNameWrong {
                name: name.into(),
                namespace: entry.name_index,
            };
            self.find(room.structure, problem);
        }
        let this = (entry.name_index, entry.name_len, name);
        if room.is_block && last.is_some_and(|last| last >= this) {
            self.find(room.structure, Problem::XattrOutOfOrder { name: name.into() });
        }
        *last = Some(this);
    }

    /// Checks a value; returns what its entry's hash should be, with the bytes of the name taken as unsigned and as signed.
    fn value(
        &mut self,
        room: &Room<'_>,
        entry: &XattrEntry,
        name: &[u8],
        values: &mut Vec<(usize, usize)>,
        blocks: &mut u64,
    ) -> Result<Option<(u32, u32)>, ReadError> {
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
        let words = value.chunks(4).map(|chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            u32::from_le_bytes(word)
        });
        Ok(Some(hashes(name, &words.collect::<Vec<_>>())))
    }

    /// Checks a value in an inode of its own.
    fn value_inode(
        &mut self,
        room: &Room<'_>,
        entry: &XattrEntry,
        name: &[u8],
        blocks: &mut u64,
    ) -> Result<Option<(u32, u32)>, ReadError> {
        let structure = room.structure;
        let ino = entry.value_inum.get();
        let len = usize::try_from(entry.value_size.get()).unwrap_or(usize::MAX);
        if !self.reader.has_incompat(incompat::EA_INODE) || !(1..=MAX_VALUE_LEN).contains(&len) {
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
        self.expect(
            holder.size == len as u64,
            structure,
            Problem::XattrValueSizeWrong {
                ino,
                found: holder.size,
                expected: len as u64,
            },
        );
        let hash = holder.hash.filter(|_| !is_old);
        Ok(hash.map(|hash| hashes(name, &[hash])))
    }

    /// Whether blocks are used as often as they say.
    pub(super) fn xattr_blocks_in_use(&mut self) {
        for (&block, sharing) in &self.xattr_blocks {
            let structure = Structure::XattrBlock {
                ino: sharing.ino,
                block,
            };
            let (said, found) = (sharing.refcount, sharing.found);
            self.findings.expect(
                said == found,
                structure,
                Problem::XattrBlockReferencesWrong {
                    found: sharing.refcount,
                    expected: sharing.found,
                },
            );
        }
    }
}

/// `e_hash` (`ext4_xattr_hash_entry`): old kernels took the bytes of the name as signed.
fn hashes(name: &[u8], words: &[u32]) -> (u32, u32) {
    let of_name = |byte: fn(u8) -> u32| name.iter().fold(0u32, |hash, &next| hash.rotate_left(5) ^ byte(next));
    let all = |hash: u32| words.iter().fold(hash, |hash, word| hash.rotate_left(16) ^ word);
    (
        all(of_name(u32::from)),
        all(of_name(|byte| i32::from(byte.cast_signed()).cast_unsigned())),
    )
}
