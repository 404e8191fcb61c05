//! Checks the content of files: extent trees and block maps, the blocks that they claim, and the
//! file size.

use super::inodes::CheckedInode;
use super::{Checker, Problem, report_unreadable};
use crate::disk::block_map;
use crate::disk::inode::{BLOCK_LEN, InodeFlags};
use crate::file_type::FileType;
use crate::read::extents::{MapFault, MapNode, MapRoot, MapVisitor, walk_map};
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::tree::MAX_TARGET_LEN;
use crate::units::Extent;

/// Blocks that an inode maps.
#[derive(Default)]
pub(super) struct FileBlocks {
    /// Number of claimed blocks, including nodes and indirect blocks.
    pub(super) count: u64,
    /// The block of the file after its last mapped one.
    end: u64,
    /// The block of the file after its last written one.
    written_end: u64,
    /// Set if some blocks are unwritten.
    has_unwritten: bool,
    /// Extents of the content, ascending.
    pub(super) extents: Vec<Extent>,
}

impl<R: ReadAt> Checker<R> {
    /// Checks the content of an inode. Returns the number of blocks that it takes.
    pub(super) fn check_content(&mut self, checked: &CheckedInode) -> Result<u64, ReadError> {
        if checked.flags.contains(InodeFlags::INLINE_DATA) {
            self.check_inline_content(checked)?;
            return Ok(0);
        }
        if checked.inode.is_fast_symlink() {
            self.check_fast_symlink(checked);
            return Ok(0);
        }
        let blocks = self.claim_mapped_blocks(checked)?;
        self.check_size(checked, &blocks)?;
        Ok(blocks.count)
    }

    /// Claims the blocks that an inode maps, and reports every fault of its extent tree or block
    /// map.
    pub(super) fn claim_mapped_blocks(&mut self, checked: &CheckedInode) -> Result<FileBlocks, ReadError> {
        self.walk_blocks(checked, true)
    }

    /// Lists the blocks that a directory maps, once [`Checker::claim_mapped_blocks`] has claimed
    /// them. Reports nothing, and leaves out blocks that were listed before, for any directory.
    pub(super) fn list_mapped_blocks(&mut self, checked: &CheckedInode) -> Result<FileBlocks, ReadError> {
        self.walk_blocks(checked, false)
    }

    fn walk_blocks(&mut self, checked: &CheckedInode, claims: bool) -> Result<FileBlocks, ReadError> {
        let is_tree = checked.flags.contains(InodeFlags::EXTENTS);
        let seed = self.reader.checksum_mode().seed().filter(|_| claims);
        let root = MapRoot {
            bytes: &checked.inode.block,
            is_tree,
            block_size: self.reader.block_size(),
            seed: seed.map(|seed| seed.of_inode(checked.ino, checked.inode.generation.get())),
        };
        let mut visitor = BlockVisitor {
            checker: self,
            checked,
            is_tree,
            claims,
            blocks: FileBlocks::default(),
        };
        walk_map(&root, &mut visitor)?;
        Ok(visitor.blocks)
    }

    /// Checks the size of inline content: `i_block`, and the value of an attribute.
    fn check_inline_content(&mut self, checked: &CheckedInode) -> Result<(), ReadError> {
        let structure = checked.structure();
        let rest = self
            .reader
            .read_inode(checked.ino)
            .and_then(|inode| inode.inline_data_tail());
        let Some(rest) = report_unreadable(rest, structure, &mut self.findings)? else {
            return Ok(());
        };
        let Some((_, len)) = rest else {
            self.report(structure, Problem::InlineDataIncomplete);
            return Ok(());
        };
        let (size, room) = (checked.size, BLOCK_LEN as u64 + len);
        // A file may be shorter than its attribute allows, after a write that was cut short.
        let is_right = match checked.file_type() {
            Some(FileType::RegularFile) => size <= room,
            _ => size == room,
        };
        self.require(is_right, structure, Problem::InlineDataSizeWrong { size, room });
        Ok(())
    }

    /// Checks that a symlink target in `i_block` has the length of the file size.
    fn check_fast_symlink(&mut self, checked: &CheckedInode) {
        let structure = checked.structure();
        let size = checked.size;
        let end = checked.inode.block.iter().position(|&byte| byte == 0);
        let is_right = size > 0 && end.is_some_and(|end| end as u64 == size);
        self.require(is_right, structure, Problem::SymlinkTargetLengthWrong { size });
    }

    /// Checks that the size of a file matches its blocks (`check_blocks` of e2fsck).
    fn check_size(&mut self, checked: &CheckedInode, blocks: &FileBlocks) -> Result<(), ReadError> {
        let structure = checked.structure();
        let block_size = self.reader.block_size() as u64;
        let size = checked.size;
        match checked.file_type() {
            Some(FileType::Directory) => {
                let is_right = size > 0 && size == blocks.end.saturating_mul(block_size);
                let end = blocks.end;
                self.require(is_right, structure, Problem::DirectorySizeWrong { size, end });
                let mapped: u64 = blocks.extents.iter().map(|extent| u64::from(extent.count)).sum();
                self.require(mapped == blocks.end, structure, Problem::DirectoryWithHoles);
                self.require(!blocks.has_unwritten, structure, Problem::DirectoryUnwritten);
            }
            Some(FileType::Symlink) => {
                let is_right = (1..=MAX_TARGET_LEN as u64).contains(&size) && size < block_size && blocks.end == 1;
                self.require(is_right, structure, Problem::SymlinkSizeWrong { size });
                if let Some(extent) = blocks.extents.first().filter(|_| is_right) {
                    let target = self
                        .read_nonzero_block(structure, extent.start.get())?
                        .unwrap_or_default();
                    let end = target.iter().position(|&byte| byte == 0);
                    let is_right = end.is_some_and(|end| end as u64 == size);
                    self.require(is_right, structure, Problem::SymlinkTargetLengthWrong { size });
                }
            }
            _ => {
                let is_verity = checked.flags.contains(InodeFlags::VERITY);
                let smallest = blocks.written_end.saturating_sub(1).saturating_mul(block_size);
                let max = self.max_file_size(checked);
                let is_right = (is_verity || size >= smallest) && size <= max;
                let last = blocks.end.saturating_sub(1);
                self.require(is_right, structure, Problem::FileSizeWrong { size, last });
            }
        }
        Ok(())
    }

    /// Returns the maximum size in bytes of a file with extents, or with a block map.
    pub(super) fn max_file_size(&self, checked: &CheckedInode) -> u64 {
        let block_size = self.reader.block_size() as u64;
        if checked.flags.contains(InodeFlags::EXTENTS) {
            block_size << 32
        } else {
            block_map::reachable_blocks(3, self.reader.block_size()) * block_size
        }
    }
}

/// Visitor that collects the blocks of an inode. With `claims`, it claims them and reports every
/// fault. Otherwise, it skips blocks that were listed before, and reports nothing.
struct BlockVisitor<'a, R> {
    checker: &'a mut Checker<R>,
    checked: &'a CheckedInode,
    is_tree: bool,
    claims: bool,
    blocks: FileBlocks,
}

impl<R: ReadAt> BlockVisitor<'_, R> {
    fn structure(&self, node: Option<&MapNode>) -> Structure {
        node.map_or(self.checked.structure(), |node| node.structure(self.checked.ino))
    }
}

impl<R: ReadAt> MapVisitor for BlockVisitor<'_, R> {
    fn read_node(&mut self, node: &MapNode) -> Result<Option<Vec<u8>>, ReadError> {
        let structure = node.structure(self.checked.ino);
        let checker = &mut *self.checker;
        if self.claims {
            // A node that belongs to another structure is not read. That also ends cycles.
            let before = checker.findings.count();
            if !checker.claim_blocks(structure, node.block, 1) || checker.findings.count() > before {
                return Ok(None);
            }
            self.blocks.count += 1;
        } else if checker.visited.claim(node.block.get(), 1).is_some() {
            return Ok(None);
        }
        checker.read_nonzero_block(structure, node.block.get())
    }

    fn visit_extent(&mut self, node: Option<&MapNode>, extent: Extent, is_written: bool) -> Result<(), ReadError> {
        let structure = self.structure(node);
        let (checker, blocks) = (&mut *self.checker, &mut self.blocks);
        let (start, count) = (extent.start.get(), u64::from(extent.count));
        let is_accepted = if self.claims {
            checker.claim_blocks(structure, extent.start, count)
        } else {
            start != 0 && start + count <= checker.block_count && checker.visited.claim(start, count).is_none()
        };
        // The extents of a tree determine its end even if their blocks are invalid.
        if self.is_tree || is_accepted {
            blocks.end = u64::from(extent.logical) + count;
            if is_written {
                blocks.written_end = blocks.end;
            } else {
                blocks.has_unwritten = true;
            }
        }
        if !is_accepted {
            return Ok(());
        }
        blocks.count += if self.claims { count } else { 0 };
        match blocks.extents.last_mut() {
            Some(last) if !self.is_tree && last.is_followed_by(extent) => last.count += extent.count,
            _ => blocks.extents.push(extent),
        }
        Ok(())
    }

    fn visit_fault(&mut self, node: Option<&MapNode>, fault: MapFault) -> Result<(), ReadError> {
        if !self.claims {
            return Ok(());
        }
        let structure = self.structure(node);
        let problem = match fault {
            MapFault::Header => Problem::ExtentHeaderWrong,
            MapFault::Checksum => Problem::ChecksumWrong,
            MapFault::Order { logical } => Problem::ExtentIndexOutOfOrder { logical },
            MapFault::Extent { logical, count } => Problem::ExtentWrong { logical, blocks: count },
            MapFault::TooFar { logical } => Problem::MappedBlockTooFar { logical },
        };
        self.checker.report(structure, problem);
        Ok(())
    }
}
