//! Contents: extent trees and block maps, the blocks that they take, and whether the size of the file fits them.

use std::io::{Read, Seek};

use zerocopy::FromBytes;

use super::inodes::CheckedInode;
use super::{Check, Problem, found};
use crate::disk::extent::{ENTRY_LEN, ExtentHeader, ExtentIndex, ExtentLeaf, MAGIC, ROOT_ENTRIES};
use crate::disk::inode::{BLOCK_LEN, InodeFlags};
use crate::file_type::FileType;
use crate::read::sums::is_right_extent_node;
use crate::read::{ReadError, Structure};
use crate::tree::MAX_TARGET_LEN;
use crate::units::{BlockNr, Extent};

/// Levels of nodes above the leaves that there can be (`EXT4_MAX_EXTENT_DEPTH`).
const MAX_DEPTH: u16 = 5;

/// What the blocks of an inode are.
#[derive(Default)]
pub(super) struct Blocks {
    /// All of them, with those that hold numbers of others.
    pub(super) count: u64,
    /// The block of the file behind its last one.
    end: u64,
    /// The same without those that were never written to.
    written_end: u64,
    /// Whether some were never written to.
    has_unwritten: bool,
    /// Where the content is, ascending.
    pub(super) extents: Vec<Extent>,
}

/// A node of an extent tree that is to be looked at.
struct Node {
    block: BlockNr,
    depth: u16,
    /// First block of the file that belongs below it.
    first: u32,
}

impl<R: Read + Seek> Check<R> {
    /// Takes the blocks of an inode, and returns how many they are.
    pub(super) fn content(&mut self, checked: &CheckedInode) -> Result<u64, ReadError> {
        if checked.flags.contains(InodeFlags::INLINE_DATA) {
            self.inline_content(checked)?;
            return Ok(0);
        }
        if checked.inode.is_fast_symlink() {
            self.fast_symlink(checked);
            return Ok(0);
        }
        let blocks = self.blocks_of(checked, true)?;
        self.size(checked, &blocks)?;
        Ok(blocks.count)
    }

    /// The blocks of an inode; `first` says that they were not taken yet, and that what is wrong is a finding. If not, those are
    /// left out that were looked at before.
    pub(super) fn blocks_of(&mut self, checked: &CheckedInode, first: bool) -> Result<Blocks, ReadError> {
        if checked.flags.contains(InodeFlags::EXTENTS) {
            self.tree(checked, first)
        } else {
            self.map(checked, first)
        }
    }

    /// Content in the inode: `i_block`, and the value of an attribute.
    fn inline_content(&mut self, checked: &CheckedInode) -> Result<(), ReadError> {
        let structure = checked.structure();
        let rest = self
            .reader
            .read_inode(checked.ino)
            .and_then(|inode| inode.inline_rest());
        let Some(rest) = found(rest, structure, &mut self.findings)? else {
            return Ok(());
        };
        let Some((_, len)) = rest else {
            self.find(structure, Problem::InlineDataIncomplete);
            return Ok(());
        };
        let (size, room) = (checked.size, BLOCK_LEN as u64 + len);
        // A file may end before its attribute does, where a write came to less than there was to be.
        let is_right = match checked.file_type() {
            Some(FileType::RegularFile) => size <= room,
            _ => size == room,
        };
        self.expect(is_right, structure, Problem::InlineDataSizeWrong { size, room });
        Ok(())
    }

    fn fast_symlink(&mut self, checked: &CheckedInode) {
        let structure = checked.structure();
        let len = usize::try_from(checked.size).unwrap_or(usize::MAX);
        let end = checked.inode.block.iter().position(|&byte| byte == 0);
        self.expect(
            len > 0 && end == Some(len),
            structure,
            Problem::SymlinkTargetLengthWrong { size: checked.size },
        );
    }

    /// Whether the size of a file is possible with its blocks (`check_blocks` of e2fsck).
    fn size(&mut self, checked: &CheckedInode, blocks: &Blocks) -> Result<(), ReadError> {
        let structure = checked.structure();
        let block_size = self.reader.block_size() as u64;
        let size = checked.size;
        match checked.file_type() {
            Some(FileType::Directory) => {
                let is_right = size > 0 && size == blocks.end.saturating_mul(block_size);
                self.expect(
                    is_right,
                    structure,
                    Problem::DirectorySizeWrong { size, end: blocks.end },
                );
                let held: u64 = blocks.extents.iter().map(|extent| u64::from(extent.count)).sum();
                self.expect(held == blocks.end, structure, Problem::DirectoryWithHoles);
                self.expect(!blocks.has_unwritten, structure, Problem::DirectoryUnwritten);
            }
            Some(FileType::Symlink) => {
                let is_right = (1..=MAX_TARGET_LEN as u64).contains(&size) && size < block_size && blocks.end == 1;
                self.expect(is_right, structure, Problem::SymlinkSizeWrong { size });
                if let Some(extent) = blocks.extents.first().filter(|_| is_right) {
                    let target = self.filled_block(structure, extent.start.get())?.unwrap_or_default();
                    let end = target.iter().position(|&byte| byte == 0);
                    self.expect(
                        end.map(|end| end as u64) == Some(size),
                        structure,
                        Problem::SymlinkTargetLengthWrong { size },
                    );
                }
            }
            _ => {
                let has_more = checked.flags.contains(InodeFlags::VERITY);
                let least = blocks.written_end.saturating_sub(1).saturating_mul(block_size);
                let most = self.most_bytes(checked);
                self.expect(
                    (has_more || size >= least) && size <= most,
                    structure,
                    Problem::FileSizeWrong {
                        size,
                        last: blocks.end.saturating_sub(1),
                    },
                );
            }
        }
        Ok(())
    }

    /// Bytes that extents or a map reach.
    pub(super) fn most_bytes(&self, checked: &CheckedInode) -> u64 {
        let block_size = self.reader.block_size() as u64;
        if checked.flags.contains(InodeFlags::EXTENTS) {
            block_size << 32
        } else {
            self.most_mapped() * block_size
        }
    }

    /// Blocks that a map reaches.
    fn most_mapped(&self) -> u64 {
        let numbers = self.reader.block_size() as u64 / 4;
        12 + numbers + numbers.pow(2) + numbers.pow(3)
    }

    fn tree(&mut self, checked: &CheckedInode, first: bool) -> Result<Blocks, ReadError> {
        let ino = checked.ino.get();
        let mut blocks = Blocks::default();
        let root = checked.inode.block;
        let mut pending = self.node(checked, &root, None, &mut blocks, first);
        pending.reverse();
        while let Some(node) = pending.pop() {
            let structure = Structure::ExtentNode {
                ino,
                block: node.block.get(),
            };
            if first {
                // One that belongs to something else is not looked into, which also ends circles.
                let before = self.findings_count();
                if !self.own(structure, node.block, 1) || self.findings_count() > before {
                    continue;
                }
                blocks.count += 1;
            } else if self.walked.claim(node.block.get(), 1).is_some() {
                continue;
            }
            let Some(bytes) = self.filled_block(structure, node.block.get())? else {
                continue;
            };
            let mut children = self.node(checked, &bytes, Some(&node), &mut blocks, first);
            children.reverse();
            pending.append(&mut children);
        }
        Ok(blocks)
    }

    fn findings_count(&self) -> u64 {
        self.findings.count()
    }

    /// Takes a node apart: its extents are added to the blocks, the nodes below it returned.
    fn node(
        &mut self,
        checked: &CheckedInode,
        bytes: &[u8],
        place: Option<&Node>,
        blocks: &mut Blocks,
        first: bool,
    ) -> Vec<Node> {
        let ino = checked.ino.get();
        let structure = place.map_or(checked.structure(), |node| {
            let block = node.block.get();
            Structure::ExtentNode { ino, block }
        });
        let (header, entries) = ExtentHeader::ref_from_prefix(bytes).expect("a node has room for its header");
        let most = if place.is_some() {
            (bytes.len() - ENTRY_LEN) / ENTRY_LEN
        } else {
            ROOT_ENTRIES
        };
        let (count, max, depth) = (
            usize::from(header.entries.get()),
            usize::from(header.max.get()),
            header.depth.get(),
        );
        let is_right = header.magic.get() == MAGIC
            && (most.saturating_sub(2)..=most).contains(&max)
            && count <= max
            && place.map_or(depth <= MAX_DEPTH, |node| depth == node.depth && count > 0);
        if !is_right {
            if first {
                self.find(structure, Problem::ExtentHeaderWrong);
            }
            return Vec::new();
        }
        if let (true, Some(_), Some(seed)) = (first, place, self.reader.sums().seed()) {
            let seed = seed.of_inode(checked.ino, checked.inode.generation.get());
            if !is_right_extent_node(bytes, header, seed) {
                self.find(structure, Problem::ChecksumWrong);
            }
        }
        let (entries, _) = entries[..count * ENTRY_LEN].as_chunks::<ENTRY_LEN>();
        if depth == 0 {
            self.leaf(structure, entries, place, blocks, first);
            return Vec::new();
        }
        let mut below: Vec<Node> = Vec::with_capacity(count);
        for entry in entries {
            let index = ExtentIndex::ref_from_bytes(entry).expect("an entry has its length");
            let start = index.block.get();
            let is_right = match below.last() {
                Some(last) => start > last.first,
                None => place.is_none_or(|node| node.first == start),
            };
            if first && !is_right {
                self.find(structure, Problem::ExtentIndexOutOfOrder { logical: start });
            }
            below.push(Node {
                block: BlockNr(u64::from(index.leaf_lo.get()) | u64::from(index.leaf_hi.get()) << 32),
                depth: depth - 1,
                first: start,
            });
        }
        below
    }

    fn leaf(
        &mut self,
        structure: Structure,
        entries: &[[u8; ENTRY_LEN]],
        place: Option<&Node>,
        blocks: &mut Blocks,
        first: bool,
    ) {
        for (position, entry) in entries.iter().enumerate() {
            let leaf = ExtentLeaf::ref_from_bytes(entry).expect("an entry has its length");
            let (len, logical) = (u32::from(leaf.len.get()), leaf.block.get());
            let is_written = len <= Extent::MAX_BLOCKS;
            let count = if is_written { len } else { len - Extent::MAX_BLOCKS };
            let start = BlockNr(u64::from(leaf.start_lo.get()) | u64::from(leaf.start_hi.get()) << 32);
            let begins_right = position > 0 || place.is_none_or(|node| node.first == logical);
            let end = u64::from(logical) + u64::from(count);
            let is_right = count > 0 && u64::from(logical) >= blocks.end && end <= 1 << 32 && begins_right;
            if !is_right {
                if first {
                    self.find(structure, Problem::ExtentWrong { logical, blocks: count });
                }
                continue;
            }
            blocks.end = end;
            if is_written {
                blocks.written_end = end;
            } else {
                blocks.has_unwritten = true;
            }
            if first {
                if !self.own(structure, start, count.into()) {
                    continue;
                }
                blocks.count += u64::from(count);
            } else if start.get() == 0
                || start.get() + u64::from(count) > self.block_count
                || self.walked.claim(start.get(), count.into()).is_some()
            {
                continue;
            }
            blocks.extents.push(Extent { start, logical, count });
        }
    }

    fn map(&mut self, checked: &CheckedInode, first: bool) -> Result<Blocks, ReadError> {
        let mut blocks = Blocks::default();
        let (words, _) = checked.inode.block.as_chunks::<4>();
        let per_block = self.reader.block_size() as u64 / 4;
        for (logical, word) in (0..).zip(&words[..12]) {
            self.mapped(
                checked.structure(),
                logical,
                u32::from_le_bytes(*word),
                &mut blocks,
                first,
            );
        }
        let mut pending = Vec::new();
        let mut start = 12;
        for (levels, word) in (0..3u32).zip(&words[12..]) {
            pending.push((u32::from_le_bytes(*word), start, levels));
            start += per_block.pow(levels + 1);
        }
        pending.reverse();
        while let Some((block, start, levels)) = pending.pop() {
            if block == 0 {
                continue;
            }
            let ino = checked.ino.get();
            let structure = Structure::ExtentNode {
                ino,
                block: block.into(),
            };
            if first {
                let before = self.findings_count();
                if !self.own(structure, BlockNr(block.into()), 1) || self.findings_count() > before {
                    continue;
                }
                blocks.count += 1;
            } else if self.walked.claim(block.into(), 1).is_some() {
                continue;
            }
            let Some(bytes) = self.filled_block(structure, block.into())? else {
                continue;
            };
            let (numbers, _) = bytes.as_chunks::<4>();
            let numbers = (0..).zip(numbers.iter().map(|number| u32::from_le_bytes(*number)));
            let span = per_block.pow(levels);
            if levels == 0 {
                for (index, block) in numbers {
                    self.mapped(structure, start + index, block, &mut blocks, first);
                }
            } else {
                let below = numbers.map(|(index, block): (u64, u32)| (block, start + index * span, levels - 1));
                let below: Vec<_> = below.filter(|(block, ..)| *block != 0).collect();
                pending.extend(below.into_iter().rev());
            }
        }
        Ok(blocks)
    }

    fn mapped(&mut self, structure: Structure, logical: u64, block: u32, blocks: &mut Blocks, first: bool) {
        if block == 0 {
            return;
        }
        let Ok(short) = u32::try_from(logical) else {
            if first {
                self.find(structure, Problem::MappedBlockTooFar { logical });
            }
            return;
        };
        let start = BlockNr(block.into());
        if first {
            if !self.own(structure, start, 1) {
                return;
            }
            blocks.count += 1;
        } else if start.get() >= self.block_count || self.walked.claim(start.get(), 1).is_some() {
            return;
        }
        blocks.end = logical + 1;
        blocks.written_end = logical + 1;
        match blocks.extents.last_mut() {
            Some(last) if last.logical + last.count == short && last.run().end() == start => last.count += 1,
            _ => blocks.extents.push(Extent {
                start,
                logical: short,
                count: 1,
            }),
        }
    }
}
