//! Contents: extent trees and block maps, the blocks that they take, and whether the size of the
//! file fits them.

use super::inodes::CheckedInode;
use super::{Check, Problem, found};
use crate::disk::block_map;
use crate::disk::inode::{BLOCK_LEN, InodeFlags};
use crate::file_type::FileType;
use crate::read::extents::{Fault, Node, Root, Visitor, walk};
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::tree::MAX_TARGET_LEN;
use crate::units::Extent;

/// The blocks of an inode.
#[derive(Default)]
pub(super) struct Blocks {
    /// All of them, with those that hold numbers of others.
    pub(super) count: u64,
    /// The block of the file behind its last one.
    end: u64,
    /// The same without those that were never written to.
    written_end: u64,
    /// Some were never written to.
    has_unwritten: bool,
    /// Extents of the content, ascending.
    pub(super) extents: Vec<Extent>,
}

impl<R: ReadAt> Check<R> {
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

    /// The blocks of an inode; `first` says that they were not taken yet, and that what is wrong is
    /// a finding. If not, those are left out that were looked at before.
    pub(super) fn blocks_of(&mut self, checked: &CheckedInode, first: bool) -> Result<Blocks, ReadError> {
        let is_tree = checked.flags.contains(InodeFlags::EXTENTS);
        let seed = self.reader.sums().seed().filter(|_| first);
        let root = Root {
            bytes: &checked.inode.block,
            is_tree,
            block_size: self.reader.block_size(),
            seed: seed.map(|seed| seed.of_inode(checked.ino, checked.inode.generation.get())),
        };
        let mut claiming = Claiming {
            check: self,
            checked,
            is_tree,
            first,
            blocks: Blocks::default(),
        };
        walk(&root, &mut claiming)?;
        Ok(claiming.blocks)
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
        // A file may end before its attribute does, where a write came to less than there was to
        // be.
        let is_right = match checked.file_type() {
            Some(FileType::RegularFile) => size <= room,
            _ => size == room,
        };
        self.expect(is_right, structure, Problem::InlineDataSizeWrong { size, room });
        Ok(())
    }

    fn fast_symlink(&mut self, checked: &CheckedInode) {
        let structure = checked.structure();
        let size = checked.size;
        let end = checked.inode.block.iter().position(|&byte| byte == 0);
        let is_right = size > 0 && end.is_some_and(|end| end as u64 == size);
        self.expect(is_right, structure, Problem::SymlinkTargetLengthWrong { size });
    }

    /// Compares the size of a file with its blocks (`check_blocks` of e2fsck).
    fn size(&mut self, checked: &CheckedInode, blocks: &Blocks) -> Result<(), ReadError> {
        let structure = checked.structure();
        let block_size = self.reader.block_size() as u64;
        let size = checked.size;
        match checked.file_type() {
            Some(FileType::Directory) => {
                let is_right = size > 0 && size == blocks.end.saturating_mul(block_size);
                let end = blocks.end;
                self.expect(is_right, structure, Problem::DirectorySizeWrong { size, end });
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
                    let is_right = end.is_some_and(|end| end as u64 == size);
                    self.expect(is_right, structure, Problem::SymlinkTargetLengthWrong { size });
                }
            }
            _ => {
                let has_more = checked.flags.contains(InodeFlags::VERITY);
                let smallest = blocks.written_end.saturating_sub(1).saturating_mul(block_size);
                let most = self.most_bytes(checked);
                let is_right = (has_more || size >= smallest) && size <= most;
                let last = blocks.end.saturating_sub(1);
                self.expect(is_right, structure, Problem::FileSizeWrong { size, last });
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
            block_map::reach(3, self.reader.block_size()) * block_size
        }
    }
}

/// Takes the blocks of an inode, and makes any fault a finding; or leaves out what was taken
/// before, in silence.
struct Claiming<'a, R> {
    check: &'a mut Check<R>,
    checked: &'a CheckedInode,
    is_tree: bool,
    first: bool,
    blocks: Blocks,
}

impl<R: ReadAt> Claiming<'_, R> {
    fn structure(&self, node: Option<&Node>) -> Structure {
        node.map_or(self.checked.structure(), |node| node.structure(self.checked.ino))
    }
}

impl<R: ReadAt> Visitor for Claiming<'_, R> {
    fn node(&mut self, node: &Node) -> Result<Option<Vec<u8>>, ReadError> {
        let structure = node.structure(self.checked.ino);
        let check = &mut *self.check;
        if self.first {
            // One that belongs to something else is not looked into, which also ends circles.
            let before = check.findings.count();
            if !check.claim(structure, node.block, 1) || check.findings.count() > before {
                return Ok(None);
            }
            self.blocks.count += 1;
        } else if check.walked.claim(node.block.get(), 1).is_some() {
            return Ok(None);
        }
        check.filled_block(structure, node.block.get())
    }

    fn extent(&mut self, node: Option<&Node>, extent: Extent, is_written: bool) -> Result<(), ReadError> {
        let structure = self.structure(node);
        let (check, blocks) = (&mut *self.check, &mut self.blocks);
        let (start, count) = (extent.start.get(), u64::from(extent.count));
        let is_taken = if self.first {
            check.claim(structure, extent.start, count)
        } else {
            start != 0 && start + count <= check.block_count && check.walked.claim(start, count).is_none()
        };
        // A tree reaches as far as it says, even with blocks that cannot be.
        if self.is_tree || is_taken {
            blocks.end = u64::from(extent.logical) + count;
            if is_written {
                blocks.written_end = blocks.end;
            } else {
                blocks.has_unwritten = true;
            }
        }
        if !is_taken {
            return Ok(());
        }
        blocks.count += if self.first { count } else { 0 };
        match blocks.extents.last_mut() {
            Some(last) if !self.is_tree && last.continues_with(extent) => last.count += extent.count,
            _ => blocks.extents.push(extent),
        }
        Ok(())
    }

    fn fault(&mut self, node: Option<&Node>, fault: Fault) -> Result<(), ReadError> {
        if !self.first {
            return Ok(());
        }
        let structure = self.structure(node);
        let problem = match fault {
            Fault::Header => Problem::ExtentHeaderWrong,
            Fault::Checksum => Problem::ChecksumWrong,
            Fault::Order { logical } => Problem::ExtentIndexOutOfOrder { logical },
            Fault::Extent { logical, count } => Problem::ExtentWrong { logical, blocks: count },
            Fault::TooFar { logical } => Problem::MappedBlockTooFar { logical },
        };
        self.check.find(structure, problem);
        Ok(())
    }
}
