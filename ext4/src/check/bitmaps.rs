//! Compares the bitmaps and counts with the used blocks and inodes (pass 5 of e2fsck).

use super::claimed_blocks::set_bit;
use super::{BitmapUnit, Checker, Problem, report_unreadable};
use crate::checksum;
use crate::disk::features::Features;
use crate::disk::group_desc::{GroupFlags, bitmap_csum_mask};
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;

/// Result of comparing a bitmap.
struct Comparison {
    used: u32,
    /// Index of the first wrong bit, and the number of wrong bits.
    wrong: Option<(u32, u32)>,
}

impl<R: ReadAt> Checker<R> {
    /// Checks the bitmaps and counts of all groups, and the counts of the superblock.
    pub(super) fn check_bitmaps(&mut self) -> Result<(), ReadError> {
        let (mut free_blocks, mut free_inodes) = (0, 0);
        for group in 0..self.groups.len() {
            let number = u32::try_from(group).expect("groups are counted in 32 bits");
            free_blocks += u64::from(self.check_block_bitmap(number)?);
            free_inodes += u64::from(self.check_inode_bitmap(number)?);
        }
        let superblock = self.reader.superblock();
        // The kernel does not write these counts before a clean unmount.
        if self.reader.superblock().has(Features::NEEDS_RECOVERY) {
            return Ok(());
        }
        let (found, expected) = (superblock.free_blocks(), free_blocks);
        let problem = Problem::FreeBlocksWrong { found, expected };
        self.findings.require(found == expected, Structure::Superblock, problem);
        let (found, expected) = (superblock.free_inodes_count.get(), free_inodes);
        let problem = Problem::FreeInodesWrong { found, expected };
        self.require(u64::from(found) == expected, Structure::Superblock, problem);
        Ok(())
    }

    /// Checks the block bitmap and the number of free blocks of a group. Returns the number of
    /// free blocks.
    fn check_block_bitmap(&mut self, group: u32) -> Result<u32, ReadError> {
        let state = &self.groups[group as usize];
        let descriptor = &state.descriptor;
        let (at, stored_checksum) = (descriptor.block_bitmap(), descriptor.block_bitmap_csum());
        let recorded = descriptor.free_blocks();
        let (start, end) = (self.group_start(group), self.group_end(group));
        let count = u32::try_from(end.saturating_sub(start)).unwrap_or(0);
        let structure = Structure::BlockBitmap { group };
        let per_group = self.reader.superblock().blocks_per_group.get();
        let is_written = !state.flags.contains(GroupFlags::BLOCK_UNINIT);
        let bitmap = if is_written {
            self.read_bitmap(structure, at, stored_checksum, per_group)?
        } else {
            Some(self.initial_block_bitmap(group))
        };
        let comparison = compare(bitmap.as_deref(), &self.claimed.bitmap(start, count), count);
        self.report_difference(structure, &comparison, BitmapUnit::Block, start);
        if let Some(bitmap) = bitmap.filter(|_| is_written) {
            self.check_padding(structure, &bitmap, count);
        }
        let (found, expected) = (recorded, count - comparison.used);
        let problem = Problem::GroupFreeBlocksWrong { found, expected };
        self.require(found == expected, Structure::GroupDescriptor { group }, problem);
        Ok(expected)
    }

    /// Returns the block bitmap of a group without content: only its backup, its own bitmaps and
    /// its own inode table are in use.
    fn initial_block_bitmap(&self, group: u32) -> Vec<u8> {
        let mut bitmap = vec![0; self.reader.block_size()];
        let (start, end) = (self.group_start(group), self.group_end(group));
        let mut mark = |from: u64, count: u64| {
            for block in from.max(start)..from.saturating_add(count).min(end) {
                set_bit(&mut bitmap, block - start);
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

    /// Checks the inode bitmap and the numbers of free inodes and directories of a group. Returns
    /// the number of free inodes.
    fn check_inode_bitmap(&mut self, group: u32) -> Result<u32, ReadError> {
        let state = &self.groups[group as usize];
        let descriptor = &state.descriptor;
        let (at, stored_checksum) = (descriptor.inode_bitmap(), descriptor.inode_bitmap_csum());
        let (recorded, recorded_directories) = (descriptor.free_inodes(), descriptor.used_dirs());
        let is_unknown = state.inodes_unknown;
        let structure = Structure::InodeBitmap { group };
        let per_group = self.reader.superblock().inodes_per_group.get();
        let is_written = !state.flags.contains(GroupFlags::INODE_UNINIT);
        let bitmap = if is_written {
            self.read_bitmap(structure, at, stored_checksum, per_group)?
        } else {
            None
        };
        if is_unknown {
            return Ok(recorded);
        }
        let first = group * per_group + 1;
        let reserved = self.reader.superblock().first_inode();
        let mut expected = vec![0; (per_group as usize).div_ceil(8)];
        let mut directories = 0;
        for used in self.inodes.in_group(group) {
            set_bit(&mut expected, used.index.into());
            directories += u32::from(used.is_directory());
        }
        for ino in first..reserved.min(first + per_group) {
            set_bit(&mut expected, u64::from(ino - first));
        }
        let comparison = compare(bitmap.as_deref(), &expected, per_group);
        self.report_difference(structure, &comparison, BitmapUnit::Inode, first.into());
        if let Some(bitmap) = bitmap {
            self.check_padding(structure, &bitmap, per_group);
        }
        let free = per_group - comparison.used;
        let structure = Structure::GroupDescriptor { group };
        let (found, expected) = (recorded, free);
        self.require(
            found == expected,
            structure,
            Problem::GroupFreeInodesWrong { found, expected },
        );
        let (found, expected) = (recorded_directories, directories);
        self.require(
            found == expected,
            structure,
            Problem::GroupDirectoriesWrong { found, expected },
        );
        Ok(free)
    }

    /// Reads a bitmap, and compares the checksum of its first `bits` bits with that in the
    /// descriptor.
    fn read_bitmap(
        &mut self,
        structure: Structure,
        at: u64,
        stored_checksum: u32,
        bits: u32,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        // A misplaced bitmap was reported before.
        if at == 0 || at >= self.block_count {
            return Ok(None);
        }
        let block = self.read_block(structure, at);
        let Some(block) = report_unreadable(block, structure, &mut self.findings)?.flatten() else {
            return Ok(None);
        };
        if let Some(seed) = self.reader.checksum_mode().seed() {
            let covered = &block[..(bits as usize / 8).min(block.len())];
            let expected = checksum::bitmap(covered, seed);
            let mask = bitmap_csum_mask(self.reader.descriptor_size());
            if stored_checksum & mask != expected & mask {
                self.report(structure, Problem::ChecksumWrong);
            }
        }
        Ok(Some(block))
    }

    fn report_difference(&mut self, structure: Structure, comparison: &Comparison, unit: BitmapUnit, first: u64) {
        if let Some((index, count)) = comparison.wrong {
            let first = first + u64::from(index);
            self.report(structure, Problem::BitmapDiffers { unit, first, count });
        }
    }

    /// Checks that all bits after the first `count` are set.
    fn check_padding(&mut self, structure: Structure, bitmap: &[u8], count: u32) {
        let whole = count.next_multiple_of(8);
        let bytes = bitmap.get(whole as usize / 8..).unwrap_or_default();
        let is_right = (count..whole).all(|index| is_set(bitmap, index)) && bytes.iter().all(|&byte| byte == 0xFF);
        self.require(is_right, structure, Problem::BitmapPaddingWrong);
    }
}

/// Compares the first `count` bits of a bitmap with the expected ones. `None` is a bitmap that is
/// unreadable or was never written.
fn compare(bitmap: Option<&[u8]>, expected: &[u8], count: u32) -> Comparison {
    let used = expected.iter().map(|byte| byte.count_ones()).sum();
    let mut comparison = Comparison { used, wrong: None };
    let Some(bitmap) = bitmap else {
        return comparison;
    };
    let bytes = (0..).step_by(8).zip(bitmap.iter().zip(expected));
    for (first, _) in bytes.filter(|(_, (found, expected))| found != expected) {
        for index in (first..count)
            .take(8)
            .filter(|&index| is_set(bitmap, index) != is_set(expected, index))
        {
            let (first, count) = comparison.wrong.unwrap_or((index, 0));
            comparison.wrong = Some((first, count + 1));
        }
    }
    comparison
}

fn is_set(bitmap: &[u8], index: u32) -> bool {
    bitmap
        .get(index as usize / 8)
        .is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}
