//! Checks the resize inode, which owns the blocks reserved for group descriptors
//! (`check_resize_inode` of e2fsck).

use std::iter;

use super::inodes::CheckedInode;
use super::{Checker, Problem};
use crate::disk::block_map::{DOUBLE_INDIRECT, numbers};
use crate::disk::inode::InodeFlags;
use crate::file_type::FileType;
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::units::BlockNr;

impl<R: ReadAt> Checker<R> {
    /// Checks the map of reserved blocks. Returns the number of blocks in it.
    ///
    /// The reserved blocks belong to the groups that they lie in, and are claimed already.
    pub(super) fn check_resize_inode(&mut self, checked: &CheckedInode) -> Result<u64, ReadError> {
        let structure = checked.structure();
        let is_file = checked.file_type() == Some(FileType::RegularFile) && checked.inode.links() == 1;
        self.require(is_file, structure, Problem::ResizeInodeNotFile);
        let has_map = !checked.flags.intersects(InodeFlags::EXTENTS | InodeFlags::INLINE_DATA);
        self.require(has_map, structure, Problem::ResizeInodeNotMapped);
        let (size, most) = (checked.size, self.max_file_size(checked));
        self.require(size <= most, structure, Problem::FileTooLarge { size });
        let root = checked.inode.block_map();
        let mut others = (0..).zip(root).filter(|(index, _)| *index != DOUBLE_INDIRECT);
        let has_others = others.any(|(_, block)| block != 0);
        self.require(!has_others, structure, Problem::ResizeInodeHasMore);
        let map = u64::from(root[DOUBLE_INDIRECT]);
        if !self.claim_blocks(structure, BlockNr(map), 1) {
            return Ok(1);
        }
        let Some(found) = self.read_block_numbers(structure, map)? else {
            return Ok(1);
        };
        let backups: Vec<u32> = (1..self.group_count)
            .filter(|&group| self.reader.superblock().has_backup(group))
            .collect();
        let superblock = self.reader.superblock();
        let first = superblock.descriptor_blocks();
        let reserved = u64::from(superblock.reserved_gdt_blocks.get());
        let count = 1 + reserved * (1 + backups.len() as u64);
        if reserved > found.len() as u64 {
            // The map has no room for that many. This was reported before.
            return Ok(count);
        }
        // Reserved blocks are numbered from the block after the superblock of group 0.
        let start = self.group_start(0) + 1;
        let mut expected = vec![0; found.len()];
        for index in first..first + reserved {
            let position = usize::try_from(index).unwrap_or(usize::MAX) % found.len();
            expected[position] = start + index;
        }
        let ino = checked.ino.get();
        self.check_reserved_blocks(Structure::ExtentNode { ino, block: map }, &found, expected);
        for index in first..first + reserved {
            let block = start + index;
            let structure = Structure::ExtentNode { ino, block };
            let Some(found) = self.read_block_numbers(structure, block)? else {
                break;
            };
            // Each reserved block lists the blocks with the same index in the groups with backups.
            let expected: Vec<u64> = backups
                .iter()
                .map(|&group| self.group_start(group) + 1 + index)
                .collect();
            if !self.check_reserved_blocks(structure, &found, expected) {
                break;
            }
        }
        Ok(count)
    }

    /// Compares the numbers in a block with the expected ones, which zeros follow. Returns whether
    /// they are equal.
    fn check_reserved_blocks(
        &mut self,
        structure: Structure,
        found: &[u32],
        expected: impl IntoIterator<Item = u64>,
    ) -> bool {
        let expected = expected.into_iter().chain(iter::repeat(0));
        let mut numbers = (0..).zip(found.iter().copied().zip(expected));
        let Some((index, (found, expected))) = numbers.find(|(_, (found, expected))| u64::from(*found) != *expected)
        else {
            return true;
        };
        self.report(structure, Problem::ReservedBlockWrong { index, found, expected });
        false
    }

    /// Reads the block numbers in an indirect block.
    fn read_block_numbers(&mut self, structure: Structure, block: u64) -> Result<Option<Vec<u32>>, ReadError> {
        let bytes = self.read_block(structure, block)?;
        Ok(bytes.map(|bytes| numbers(&bytes).collect()))
    }
}
