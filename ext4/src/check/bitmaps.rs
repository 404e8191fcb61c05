//! The bitmaps and counts, compared with the blocks and inodes in use (pass 5 of e2fsck).

use std::fmt;

use super::ownership::set;
use super::{Check, Problem, found};
use crate::checksum;
use crate::disk::features::Features;
use crate::disk::group_desc::{GroupFlags, bitmap_csum_mask};
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;

/// The unit of a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BitmapUnit {
    /// Blocks.
    Block,
    /// Inodes.
    Inode,
}

impl fmt::Display for BitmapUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Block => "block",
            Self::Inode => "inode",
        })
    }
}

/// A comparison of the first bits of a bitmap.
struct Compared {
    used: u32,
    /// The first bit that is wrong, and how many are.
    wrong: Option<(u32, u32)>,
}

impl<R: ReadAt> Check<R> {
    pub(super) fn bitmaps(&mut self) -> Result<(), ReadError> {
        let (mut free_blocks, mut free_inodes) = (0, 0);
        for group in 0..self.groups.len() {
            let number = u32::try_from(group).expect("groups are counted in 32 bits");
            free_blocks += u64::from(self.block_bitmap(number)?);
            free_inodes += u64::from(self.inode_bitmap(number)?);
        }
        let superblock = self.reader.superblock();
        // A kernel that had no time to unmount did not write them.
        if self.reader.superblock().has(Features::NEEDS_RECOVERY) {
            return Ok(());
        }
        let (found, expected) = (superblock.free_blocks(), free_blocks);
        let problem = Problem::FreeBlocksWrong { found, expected };
        self.findings.expect(found == expected, Structure::Superblock, problem);
        let (found, expected) = (superblock.free_inodes_count.get(), free_inodes);
        let problem = Problem::FreeInodesWrong { found, expected };
        self.expect(u64::from(found) == expected, Structure::Superblock, problem);
        Ok(())
    }

    /// Returns how many blocks of the group are free.
    fn block_bitmap(&mut self, group: u32) -> Result<u32, ReadError> {
        let described = &self.groups[group as usize];
        let descriptor = &described.descriptor;
        let (at, sum) = (descriptor.block_bitmap(), descriptor.block_bitmap_csum());
        let said = descriptor.free_blocks();
        let (start, end) = (self.group_start(group), self.group_end(group));
        let count = u32::try_from(end.saturating_sub(start)).unwrap_or(0);
        let structure = Structure::BlockBitmap { group };
        let per_group = self.reader.superblock().blocks_per_group.get();
        let is_written = !described.flags.contains(GroupFlags::BLOCK_UNINIT);
        let bitmap = if is_written {
            self.bitmap(structure, at, sum, per_group)?
        } else {
            Some(self.unwritten(group))
        };
        let compared = compare(bitmap.as_deref(), &self.blocks.bitmap(start, count), count);
        self.report(structure, &compared, BitmapUnit::Block, start);
        if let Some(bitmap) = bitmap.filter(|_| is_written) {
            self.padding(structure, &bitmap, count);
        }
        let (found, expected) = (said, count - compared.used);
        let problem = Problem::GroupFreeBlocksWrong { found, expected };
        self.expect(found == expected, Structure::GroupDescriptor { group }, problem);
        Ok(expected)
    }

    /// The bitmap of a group in which nothing is in use but what every group has: its copies, and
    /// its own bitmaps and table.
    fn unwritten(&self, group: u32) -> Vec<u8> {
        let mut bitmap = vec![0; self.reader.block_size()];
        let (start, end) = (self.group_start(group), self.group_end(group));
        let mut mark = |from: u64, count: u64| {
            for block in from.max(start)..from.saturating_add(count).min(end) {
                set(&mut bitmap, block - start);
            }
        };
        let superblock = self.reader.superblock();
        if superblock.has_backup(group) {
            mark(start, superblock.backup_blocks());
        }
        let descriptor = &self.groups[group as usize].descriptor;
        mark(descriptor.block_bitmap(), 1);
        mark(descriptor.inode_bitmap(), 1);
        mark(descriptor.inode_table(), superblock.inode_table_blocks());
        bitmap
    }

    /// Returns how many inodes of the group are free.
    fn inode_bitmap(&mut self, group: u32) -> Result<u32, ReadError> {
        let described = &self.groups[group as usize];
        let descriptor = &described.descriptor;
        let (at, sum) = (descriptor.inode_bitmap(), descriptor.inode_bitmap_csum());
        let (said, said_directories) = (descriptor.free_inodes(), descriptor.used_dirs());
        let is_unknown = described.is_unknown;
        let structure = Structure::InodeBitmap { group };
        let per_group = self.reader.superblock().inodes_per_group.get();
        let is_written = !described.flags.contains(GroupFlags::INODE_UNINIT);
        let bitmap = if is_written {
            self.bitmap(structure, at, sum, per_group)?
        } else {
            None
        };
        if is_unknown {
            return Ok(said);
        }
        let first = group * per_group + 1;
        let reserved = self.reader.superblock().first_inode();
        let mut expected = vec![0; (per_group as usize).div_ceil(8)];
        let mut directories = 0;
        for fact in self.inodes.of_group(group) {
            set(&mut expected, fact.index.into());
            directories += u32::from(fact.is_directory());
        }
        for ino in first..reserved.min(first + per_group) {
            set(&mut expected, u64::from(ino - first));
        }
        let compared = compare(bitmap.as_deref(), &expected, per_group);
        self.report(structure, &compared, BitmapUnit::Inode, first.into());
        if let Some(bitmap) = bitmap {
            self.padding(structure, &bitmap, per_group);
        }
        let free = per_group - compared.used;
        let structure = Structure::GroupDescriptor { group };
        let (found, expected) = (said, free);
        self.expect(
            found == expected,
            structure,
            Problem::GroupFreeInodesWrong { found, expected },
        );
        let (found, expected) = (said_directories, directories);
        self.expect(
            found == expected,
            structure,
            Problem::GroupDirectoriesWrong { found, expected },
        );
        Ok(free)
    }

    /// Reads a bitmap, and verifies the sum over its first bits.
    fn bitmap(&mut self, structure: Structure, at: u64, sum: u32, bits: u32) -> Result<Option<Vec<u8>>, ReadError> {
        // One that is out of place was found before.
        if at == 0 || at >= self.block_count {
            return Ok(None);
        }
        let block = self.block(structure, at);
        let Some(block) = found(block, structure, &mut self.findings)?.flatten() else {
            return Ok(None);
        };
        if let Some(seed) = self.reader.sums().seed() {
            let covered = &block[..(bits as usize / 8).min(block.len())];
            let expected = checksum::bitmap(covered, seed);
            let mask = bitmap_csum_mask(self.reader.descriptor_size());
            if sum & mask != expected & mask {
                self.find(structure, Problem::ChecksumWrong);
            }
        }
        Ok(Some(block))
    }

    fn report(&mut self, structure: Structure, compared: &Compared, unit: BitmapUnit, first: u64) {
        if let Some((index, count)) = compared.wrong {
            let first = first + u64::from(index);
            self.find(structure, Problem::BitmapDiffers { unit, first, count });
        }
    }

    /// All bits of the block after the first `count` must be set.
    fn padding(&mut self, structure: Structure, bitmap: &[u8], count: u32) {
        let whole = count.next_multiple_of(8);
        let bytes = bitmap.get(whole as usize / 8..).unwrap_or_default();
        let is_right = (count..whole).all(|index| bit(bitmap, index)) && bytes.iter().all(|&byte| byte == 0xFF);
        self.expect(is_right, structure, Problem::BitmapPaddingWrong);
    }
}

/// Compares the first bits of a bitmap with those that they should be.
fn compare(bitmap: Option<&[u8]>, expected: &[u8], count: u32) -> Compared {
    let used = expected.iter().map(|byte| byte.count_ones()).sum();
    let mut compared = Compared { used, wrong: None };
    let Some(bitmap) = bitmap else {
        return compared;
    };
    let bytes = (0..).step_by(8).zip(bitmap.iter().zip(expected));
    for (first, _) in bytes.filter(|(_, (found, expected))| found != expected) {
        for index in (first..count)
            .take(8)
            .filter(|&index| bit(bitmap, index) != bit(expected, index))
        {
            let (first, count) = compared.wrong.unwrap_or((index, 0));
            compared.wrong = Some((first, count + 1));
        }
    }
    compared
}

fn bit(bitmap: &[u8], index: u32) -> bool {
    bitmap
        .get(index as usize / 8)
        .is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}
