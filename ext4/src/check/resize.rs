//! The inode that owns the blocks reserved for group descriptors (`check_resize_inode` of e2fsck).

use std::io::{Read, Seek};

use super::inodes::Checked;
use super::{Check, Problem};
use crate::disk::inode::{InodeFlags, file_type};
use crate::read::{ReadError, Structure};
use crate::units::BlockNr;

/// Index of the double-indirect block in `i_block` (`EXT2_DIND_BLOCK`).
const DOUBLE_INDIRECT: usize = 13;

impl<R: Read + Seek> Check<R> {
    /// Checks the map of reserved blocks, and returns how many blocks it has.
    ///
    /// The reserved blocks themselves belong to the groups that they lie in, and are taken already.
    pub(super) fn resize_inode(&mut self, checked: &Checked) -> Result<u64, ReadError> {
        let structure = checked.structure();
        let is_right = checked.file_type() == file_type::REGULAR && checked.inode.links_count.get() == 1;
        self.expect(is_right, structure, Problem::ResizeInodeNotFile);
        let has_map = !checked.flags.intersects(InodeFlags::EXTENTS | InodeFlags::INLINE_DATA);
        self.expect(has_map, structure, Problem::ResizeInodeNotMapped);
        let (size, most) = (checked.size, self.most_bytes(checked));
        self.expect(size <= most, structure, Problem::FileTooLarge { size });
        let (words, _) = checked.inode.block.as_chunks::<4>();
        let map = u32::from_le_bytes(words[DOUBLE_INDIRECT]);
        let others = words.iter().enumerate().filter(|(index, _)| *index != DOUBLE_INDIRECT);
        self.expect(
            others.into_iter().all(|(_, word)| *word == [0; 4]),
            structure,
            Problem::ResizeInodeHasMore,
        );
        if !self.own(structure, BlockNr(map.into()), 1) {
            return Ok(1);
        }
        let Some(numbers) = self.numbers(structure, map.into())? else {
            return Ok(1);
        };
        let copies: Vec<u32> = (1..self.group_count)
            .filter(|&group| self.reader.superblock().has_backup(group))
            .collect();
        let first = self.descriptor_blocks();
        let reserved = u64::from(self.reader.superblock().reserved_gdt_blocks.get());
        if reserved > numbers.len() as u64 {
            // So many cannot be listed, which was found before.
            return Ok(1 + reserved * (1 + copies.len() as u64));
        }
        let mut expected = vec![0; numbers.len()];
        for index in first..first + reserved {
            let block = self.group_start(0) + 1 + index;
            let place = usize::try_from(index).unwrap_or(usize::MAX) % numbers.len();
            expected[place] = u32::try_from(block).unwrap_or(u32::MAX);
        }
        let wrong = (0..)
            .zip(numbers.iter().zip(&expected))
            .find(|(_, (found, expected))| found != expected);
        if let Some((index, (&found, &expected))) = wrong {
            let structure = Structure::ExtentNode {
                ino: checked.ino.get(),
                block: map.into(),
            };
            let expected = expected.into();
            self.find(structure, Problem::ReservedBlockWrong { index, found, expected });
        }
        for index in first..first + reserved {
            let block = self.group_start(0) + 1 + index;
            if !self.likes(checked, block, index, &copies)? {
                break;
            }
        }
        Ok(1 + reserved * (1 + copies.len() as u64))
    }

    /// A reserved block of group 0 lists its likes in the groups with copies of the superblock. Says whether it does.
    fn likes(&mut self, checked: &Checked, block: u64, index: u64, copies: &[u32]) -> Result<bool, ReadError> {
        let structure = Structure::ExtentNode {
            ino: checked.ino.get(),
            block,
        };
        let Some(numbers) = self.numbers(structure, block)? else {
            return Ok(false);
        };
        let expected = copies.iter().map(|&group| self.group_start(group) + 1 + index);
        let expected = expected.chain(std::iter::repeat(0));
        let wrong = (0..)
            .zip(numbers)
            .zip(expected)
            .find(|((_, found), expected)| u64::from(*found) != *expected);
        if let Some(((index, found), expected)) = wrong {
            self.find(structure, Problem::ReservedBlockWrong { index, found, expected });
        }
        Ok(wrong.is_none())
    }

    fn numbers(&mut self, structure: Structure, block: u64) -> Result<Option<Vec<u32>>, ReadError> {
        let bytes = self.block(structure, block)?;
        Ok(bytes.map(|bytes| {
            let (numbers, _) = bytes.as_chunks::<4>();
            numbers.iter().map(|number| u32::from_le_bytes(*number)).collect()
        }))
    }
}
