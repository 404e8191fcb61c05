//! Checks block groups: their descriptors, the bitmaps and inode tables that these point to, and
//! the backups of the superblock and the descriptors (`check_super_block` of e2fsck).

use zerocopy::FromBytes;

use super::superblock::mmp_block;
use super::{BlockRole, Checker, Problem, StopReason};
use crate::disk::features::Features;
use crate::disk::group_desc::{GroupDesc, GroupFlags};
use crate::disk::superblock::{MAGIC, Superblock};
use crate::read::checksums::{ChecksumMode, superblock_checksum_ok};
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;

/// Maximum number of damaged descriptors. Each group takes time and memory, and an image of mostly
/// holes can have any number of descriptors of zeros.
const MAX_DAMAGED_GROUPS: u32 = 1000;

/// Group of the file system, with the parts of its descriptor that can be trusted.
pub(super) struct Group {
    pub(super) descriptor: GroupDesc,
    /// Number of inodes at the end of the table that were never used. Zero if the descriptor
    /// cannot be trusted.
    pub(super) unused_inodes: u32,
    /// Parts that were never written. Empty if the descriptor cannot be trusted.
    pub(super) flags: GroupFlags,
    /// Set if the inodes of the group are unknown: its table is outside of the image, or is the
    /// table of another group.
    pub(super) inodes_unknown: bool,
}

impl<R: ReadAt> Checker<R> {
    /// Returns the first block of a group.
    pub(super) fn group_start(&self, group: u32) -> u64 {
        self.reader.superblock().group_start(group)
    }

    /// Returns the block after the last one of a group.
    pub(super) fn group_end(&self, group: u32) -> u64 {
        let superblock = self.reader.superblock();
        let end = superblock.group_start(group) + u64::from(superblock.blocks_per_group.get());
        end.min(self.block_count)
    }

    /// Reads the descriptors, and claims all blocks that do not belong to an inode. Returns
    /// whether the rest of the image can be checked.
    pub(super) fn check_groups(&mut self) -> Result<bool, ReadError> {
        if !self.check_descriptors()? {
            return Ok(false);
        }
        let superblock = self.reader.superblock();
        for group in (0..self.group_count).filter(|&group| superblock.has_backup(group)) {
            self.claimed
                .claim(superblock.group_start(group), superblock.backup_blocks());
        }
        let table_blocks = superblock.inode_table_blocks();
        let mut damaged = 0;
        for (number, index) in (0..).zip(0..self.groups.len()) {
            let descriptor = &self.groups[index].descriptor;
            let parts = [
                (BlockRole::BlockBitmap, descriptor.block_bitmap(), 1),
                (BlockRole::InodeBitmap, descriptor.inode_bitmap(), 1),
                (BlockRole::InodeTable, descriptor.inode_table(), table_blocks),
            ];
            let mut is_right = true;
            for (role, start, count) in parts {
                is_right &= self.claim_group_blocks(number, role, start, count);
            }
            damaged += u32::from(!is_right);
            if damaged > MAX_DAMAGED_GROUPS {
                self.findings.stop(StopReason::MisplacedGroups);
                return Ok(false);
            }
        }
        if let Some(block) = mmp_block(self.reader.superblock()) {
            let is_taken = self.claimed.claim(block, 1).is_some();
            let role = BlockRole::Mmp;
            self.require(
                !is_taken,
                Structure::Superblock,
                Problem::BlockClaimedTwice { block, role },
            );
        }
        Ok(true)
    }

    /// Reads all descriptors in the image. Returns whether the rest of the image can be checked.
    /// That takes an image with few damaged descriptors; the number of good ones is limited by the
    /// size of the image.
    fn check_descriptors(&mut self) -> Result<bool, ReadError> {
        let checksum_mode = self.reader.checksum_mode();
        let has_checksums = !matches!(checksum_mode, ChecksumMode::None);
        let mut damaged = 0;
        for index in 0..self.reader.superblock().descriptor_blocks() {
            let Some((first, bytes)) = self.read_descriptor_block(index)? else {
                return Ok(true);
            };
            for (group, bytes) in (first..self.group_count).zip(bytes.chunks_exact(self.reader.descriptor_size())) {
                let descriptor = GroupDesc::from_prefix(bytes);
                let is_right = checksum_mode.group_desc_checksum_ok(bytes, &descriptor, group);
                if !is_right {
                    self.report(Structure::GroupDescriptor { group }, Problem::ChecksumWrong);
                }
                let blocks = 1..self.block_count;
                let is_possible = metadata_blocks(&descriptor).iter().all(|block| blocks.contains(block));
                let group_state = self.check_descriptor(group, descriptor, is_right, has_checksums);
                damaged += u32::from(!(is_right && is_possible));
                if damaged > MAX_DAMAGED_GROUPS {
                    self.findings.stop(StopReason::DamagedDescriptors);
                    return Ok(false);
                }
                self.groups.push(group_state);
            }
        }
        Ok(true)
    }

    /// Reads a block of descriptors. Returns it with the number of its first group.
    fn read_descriptor_block(&mut self, index: u64) -> Result<Option<(u32, Vec<u8>)>, ReadError> {
        let per_block = (self.reader.block_size() / self.reader.descriptor_size()) as u64;
        let Ok(group) = u32::try_from(index * per_block) else {
            return Ok(None);
        };
        let block = self.group_start(0) + 1 + index;
        let bytes = self.read_block(Structure::GroupDescriptor { group }, block)?;
        Ok(bytes.map(|bytes| (group, bytes)))
    }

    /// Checks a descriptor. Its flags and counts of parts that were never written are trusted only
    /// if it has a checksum and that is right.
    fn check_descriptor(&mut self, group: u32, descriptor: GroupDesc, is_right: bool, has_checksums: bool) -> Group {
        let is_trusted = is_right && has_checksums;
        let structure = Structure::GroupDescriptor { group };
        let (flags, unused) = (descriptor.flags(), descriptor.itable_unused());
        let has_uninit = unused != 0 || flags.intersects(GroupFlags::INODE_UNINIT | GroupFlags::BLOCK_UNINIT);
        self.require(has_checksums || !has_uninit, structure, Problem::UninitWithoutFeature);
        let is_last = group + 1 == self.group_count;
        let has_bitmap = !flags.contains(GroupFlags::BLOCK_UNINIT);
        self.require(has_bitmap || !is_last, structure, Problem::LastGroupUninit);
        let inodes = self.reader.superblock().inodes_per_group.get();
        let too_many = Problem::UnusedInodesTooMany { found: unused, inodes };
        self.require(unused <= inodes, structure, too_many);
        Group {
            descriptor,
            unused_inodes: if is_trusted { unused } else { 0 },
            flags: if is_trusted { flags } else { GroupFlags::empty() },
            inodes_unknown: false,
        }
    }

    /// Claims the blocks of a bitmap or an inode table, which may lie in any group with `flex_bg`.
    /// Returns whether they are in a valid place and do not belong to another structure.
    fn claim_group_blocks(&mut self, group: u32, role: BlockRole, start: u64, count: u64) -> bool {
        let structure = Structure::GroupDescriptor { group };
        let (first, end) = if self.reader.superblock().has(Features::FLEX_BG) {
            (self.group_start(0), self.block_count)
        } else {
            (self.group_start(group), self.group_end(group))
        };
        if start < first || start.saturating_add(count) > end {
            self.report(structure, Problem::GroupBlockMisplaced { block: start, role });
            return false;
        }
        if let Some(block) = self.claimed.claim(start, count) {
            self.report(structure, Problem::BlockClaimedTwice { block, role });
            return false;
        }
        true
    }

    /// Checks the backups of the superblock and the descriptors. The kernel updates neither their
    /// counts nor other fields that a repair does not need, so only the needed fields are
    /// compared.
    pub(super) fn check_backups(&mut self) -> Result<(), ReadError> {
        for group in 1..self.group_count {
            if !self.reader.superblock().has_backup(group) {
                continue;
            }
            let structure = Structure::SuperblockBackup { group };
            let Some(block) = self.read_block(structure, self.group_start(group))? else {
                continue;
            };
            let (backup, _) = Superblock::read_from_prefix(&block).expect("a block has room for it");
            self.check_superblock_backup(structure, &backup);
            self.check_descriptor_backups(group)?;
        }
        Ok(())
    }

    fn check_superblock_backup(&mut self, structure: Structure, backup: &Superblock) {
        let key = |superblock: &Superblock| {
            (
                superblock.magic.get(),
                superblock.log_block_size.get(),
                (superblock.blocks_per_group.get(), superblock.inodes_per_group.get()),
                (superblock.blocks_count_lo.get(), superblock.inodes_count.get()),
                superblock.inode_size.get(),
            )
        };
        if backup.magic.get() == MAGIC && !superblock_checksum_ok(backup) {
            self.report(structure, Problem::ChecksumWrong);
        } else if key(self.reader.superblock()) != key(backup) {
            self.report(structure, Problem::SuperblockBackupDiffers);
        }
    }

    fn check_descriptor_backups(&mut self, group: u32) -> Result<(), ReadError> {
        let structure = Structure::DescriptorsBackup { group };
        let size = self.reader.descriptor_size();
        let checksum_mode = self.reader.checksum_mode();
        let per_block = self.reader.block_size() / size;
        for (block, first) in (self.group_start(group) + 1..).zip((0..self.groups.len()).step_by(per_block)) {
            let Some(bytes) = self.read_block(structure, block)? else {
                return Ok(());
            };
            let originals = (first..).zip(&self.groups[first..]);
            let wrong = originals
                .zip(bytes.chunks_exact(size))
                .find_map(|((number, original), bytes)| {
                    let number = u32::try_from(number).expect("groups are counted in 32 bits");
                    let backup = GroupDesc::from_prefix(bytes);
                    let is_same = metadata_blocks(&backup) == metadata_blocks(&original.descriptor);
                    (!is_same || !checksum_mode.group_desc_checksum_ok(bytes, &backup, number)).then_some(number)
                });
            if let Some(group) = wrong {
                self.report(structure, Problem::DescriptorBackupDiffers { group });
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Returns the first blocks of the bitmaps and of the inode table.
fn metadata_blocks(descriptor: &GroupDesc) -> [u64; 3] {
    [
        descriptor.block_bitmap(),
        descriptor.inode_bitmap(),
        descriptor.inode_table(),
    ]
}
