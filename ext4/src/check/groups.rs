//! Block groups: their descriptors, what these point to, and the copies of both.

use std::io::{Read, Seek};

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{BlockRole, Check, Problem, StopReason, superblock};
use crate::disk::group_desc::{GroupDesc, GroupFlags};
use crate::disk::superblock::{MAGIC, Superblock};
use crate::read::facts::incompat;
use crate::read::sums::{Sums, is_right_superblock};
use crate::read::{ReadError, Structure};

/// Most descriptors that may be damaged for the rest to be looked at. Each group takes time and memory, and an image that is
/// mostly holes has any number of descriptors that are zeros.
const MAX_DAMAGED: u32 = 1000;

/// What a group's descriptor says.
pub(super) struct Group {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
    pub(super) free_blocks: u32,
    pub(super) free_inodes: u32,
    pub(super) directories: u32,
    /// Inodes at the end of the table that were never used; zero if that is not known for certain.
    pub(super) unused_inodes: u32,
    /// What is not written; empty if that is not known for certain.
    pub(super) flags: GroupFlags,
    /// Whether nothing is known of its inodes, as its table is nowhere, or that of another group.
    pub(super) is_unknown: bool,
    pub(super) block_bitmap_sum: u32,
    pub(super) inode_bitmap_sum: u32,
}

impl Group {
    fn places(&self) -> [u64; 3] {
        [self.block_bitmap, self.inode_bitmap, self.inode_table]
    }
}

impl<R: Read + Seek> Check<R> {
    /// First block of a group.
    pub(super) fn group_start(&self, group: u32) -> u64 {
        let superblock = self.reader.superblock();
        let per_group = u64::from(superblock.blocks_per_group.get());
        u64::from(superblock.first_data_block.get()) + u64::from(group) * per_group
    }

    /// The block behind the last one of a group.
    pub(super) fn group_end(&self, group: u32) -> u64 {
        let per_group = u64::from(self.reader.superblock().blocks_per_group.get());
        (self.group_start(group) + per_group).min(self.block_count)
    }

    /// Blocks that hold all descriptors.
    pub(super) fn descriptor_blocks(&self) -> u64 {
        let groups = self.reader.group_count(self.reader.block_count());
        let bytes = u64::from(groups) * self.reader.descriptor_size() as u64;
        bytes.div_ceil(self.reader.block_size() as u64)
    }

    /// Blocks of an inode table.
    pub(super) fn table_blocks(&self) -> u64 {
        let bytes = u64::from(self.reader.superblock().inodes_per_group.get()) * self.reader.inode_size() as u64;
        bytes.div_ceil(self.reader.block_size() as u64)
    }

    /// Keeps what the descriptors say, and takes the places of everything that is not an inode's. Says whether the rest has a
    /// meaning.
    pub(super) fn groups(&mut self) -> Result<bool, ReadError> {
        if !self.descriptors()? {
            return Ok(false);
        }
        let head = 1 + self.descriptor_blocks() + u64::from(self.reader.superblock().reserved_gdt_blocks.get());
        for group in 0..self.group_count {
            if self.reader.superblock().has_backup(group) {
                self.blocks.claim(self.group_start(group), head);
            }
        }
        let mut damaged = 0;
        for number in 0..self.groups.len() {
            let group = &self.groups[number];
            let places = [
                (BlockRole::BlockBitmap, group.block_bitmap, 1),
                (BlockRole::InodeBitmap, group.inode_bitmap, 1),
                (BlockRole::InodeTable, group.inode_table, self.table_blocks()),
            ];
            let number = u32::try_from(number).expect("groups are counted in 32 bits");
            let mut is_right = true;
            for (role, start, count) in places {
                is_right &= self.place(number, role, start, count);
            }
            damaged += u32::from(!is_right);
            if damaged > MAX_DAMAGED {
                self.findings.stop(StopReason::MisplacedGroups);
                return Ok(false);
            }
        }
        if let Some(block) = superblock::mmp_block(&self.reader) {
            let taken = self.blocks.claim(block, 1).is_some();
            self.expect(
                !taken,
                Structure::Superblock,
                Problem::BlockClaimedTwice {
                    block,
                    role: BlockRole::Mmp,
                },
            );
        }
        Ok(true)
    }

    /// Reads all descriptors, up to the last that is there. No image has more good ones than bytes, however many groups it says
    /// there are, and with too many damaged ones it is no file system.
    fn descriptors(&mut self) -> Result<bool, ReadError> {
        let sums = self.reader.sums();
        let has_sums = !matches!(sums, Sums::None);
        let mut damaged = 0;
        for index in 0..self.descriptor_blocks() {
            let Some((first, bytes)) = self.descriptors_block(index)? else {
                return Ok(true);
            };
            for (group, bytes) in (first..self.group_count).zip(bytes.chunks_exact(self.reader.descriptor_size())) {
                let descriptor = descriptor_of(bytes);
                let is_right = sums.is_right_descriptor(bytes, &descriptor, group);
                if !is_right {
                    self.find(Structure::GroupDescriptor { group }, Problem::ChecksumWrong);
                }
                let described = self.described(group, &descriptor, is_right, has_sums);
                let blocks = 1..self.block_count;
                let is_possible = described.places().iter().all(|block| blocks.contains(block));
                damaged += u32::from(!(is_right && is_possible));
                if damaged > MAX_DAMAGED {
                    self.findings.stop(StopReason::DamagedDescriptors);
                    return Ok(false);
                }
                self.groups.push(described);
            }
        }
        Ok(true)
    }

    /// Reads a block of the descriptors, and says which group the first of them describes.
    fn descriptors_block(&mut self, index: u64) -> Result<Option<(u32, Vec<u8>)>, ReadError> {
        let per_block = (self.reader.block_size() / self.reader.descriptor_size()) as u64;
        let Ok(group) = u32::try_from(index * per_block) else {
            return Ok(None);
        };
        let block = self.group_start(0) + 1 + index;
        let bytes = self.block(Structure::GroupDescriptor { group }, block)?;
        Ok(bytes.map(|bytes| (group, bytes)))
    }

    /// What a descriptor says, as far as that is believed.
    fn described(&mut self, group: u32, descriptor: &GroupDesc, is_right: bool, has_sums: bool) -> Group {
        let is_believed = is_right && has_sums;
        let structure = Structure::GroupDescriptor { group };
        let count = |lo: u16, hi: u16| u32::from(lo) | u32::from(hi) << 16;
        let flags = GroupFlags::from_bits_retain(descriptor.flags.get());
        let unused = count(descriptor.itable_unused_lo.get(), descriptor.itable_unused_hi.get());
        let has_rest = unused != 0 || flags.intersects(GroupFlags::INODE_UNINIT | GroupFlags::BLOCK_UNINIT);
        self.expect(has_sums || !has_rest, structure, Problem::UninitWithoutFeature);
        let may_be_unwritten = group + 1 != self.group_count || !flags.contains(GroupFlags::BLOCK_UNINIT);
        self.expect(may_be_unwritten, structure, Problem::LastGroupUninit);
        let per_group = self.reader.superblock().inodes_per_group.get();
        self.expect(
            unused <= per_group,
            structure,
            Problem::UnusedInodesTooMany {
                found: unused,
                inodes: per_group,
            },
        );
        let [block_bitmap, inode_bitmap, inode_table] = places(descriptor);
        Group {
            block_bitmap,
            inode_bitmap,
            inode_table,
            free_blocks: count(
                descriptor.free_blocks_count_lo.get(),
                descriptor.free_blocks_count_hi.get(),
            ),
            free_inodes: count(
                descriptor.free_inodes_count_lo.get(),
                descriptor.free_inodes_count_hi.get(),
            ),
            directories: count(descriptor.used_dirs_count_lo.get(), descriptor.used_dirs_count_hi.get()),
            unused_inodes: if is_believed { unused } else { 0 },
            flags: if is_believed { flags } else { GroupFlags::empty() },
            is_unknown: false,
            block_bitmap_sum: count(
                descriptor.block_bitmap_csum_lo.get(),
                descriptor.block_bitmap_csum_hi.get(),
            ),
            inode_bitmap_sum: count(
                descriptor.inode_bitmap_csum_lo.get(),
                descriptor.inode_bitmap_csum_hi.get(),
            ),
        }
    }

    /// Takes the place of a bitmap or a table, which may lie in any group with `flex_bg`. Says whether it can be there,
    /// and nothing else is.
    fn place(&mut self, group: u32, role: BlockRole, start: u64, count: u64) -> bool {
        let structure = Structure::GroupDescriptor { group };
        let (first, end) = if self.reader.has_incompat(incompat::FLEX_BG) {
            (self.group_start(0), self.block_count)
        } else {
            (self.group_start(group), self.group_end(group))
        };
        if start < first || start.saturating_add(count) > end {
            self.find(structure, Problem::GroupBlockMisplaced { block: start, role });
            return false;
        }
        if let Some(block) = self.blocks.claim(start, count) {
            self.find(structure, Problem::BlockClaimedTwice { block, role });
            return false;
        }
        true
    }

    /// The copies of the superblock and the descriptors. The kernel does not keep counts in them right, nor anything but what
    /// a repair needs: so no more is expected of them.
    pub(super) fn copies(&mut self) -> Result<(), ReadError> {
        for group in 1..self.group_count {
            if !self.reader.superblock().has_backup(group) {
                continue;
            }
            let structure = Structure::SuperblockBackup { group };
            let Some(block) = self.block(structure, self.group_start(group))? else {
                continue;
            };
            let (copy, _) = Superblock::read_from_prefix(&block).expect("a block has room for it");
            self.copy(structure, &copy);
            self.descriptors_copy(group)?;
        }
        Ok(())
    }

    fn copy(&mut self, structure: Structure, copy: &Superblock) {
        let superblock = self.reader.superblock();
        let key = |superblock: &Superblock| {
            (
                superblock.magic.get(),
                superblock.log_block_size.get(),
                (superblock.blocks_per_group.get(), superblock.inodes_per_group.get()),
                (superblock.blocks_count_lo.get(), superblock.inodes_count.get()),
                superblock.inode_size.get(),
            )
        };
        let is_same = key(superblock) == key(copy);
        if copy.magic.get() == MAGIC && !is_right_superblock(copy) {
            self.find(structure, Problem::ChecksumWrong);
        } else if !is_same {
            self.find(structure, Problem::SuperblockBackupDiffers);
        }
    }

    fn descriptors_copy(&mut self, group: u32) -> Result<(), ReadError> {
        let structure = Structure::DescriptorsBackup { group };
        let size = self.reader.descriptor_size();
        let sums = self.reader.sums();
        let per_block = self.reader.block_size() / size;
        for (block, first) in (self.group_start(group) + 1..).zip((0..self.groups.len()).step_by(per_block)) {
            let Some(bytes) = self.block(structure, block)? else {
                return Ok(());
            };
            let originals = (first..).zip(&self.groups[first..]);
            let wrong = originals
                .zip(bytes.chunks_exact(size))
                .find_map(|((number, original), bytes)| {
                    let number = u32::try_from(number).expect("groups are counted in 32 bits");
                    let copy = descriptor_of(bytes);
                    let is_right = places(&copy) == original.places() && sums.is_right_descriptor(bytes, &copy, number);
                    (!is_right).then_some(number)
                });
            if let Some(number) = wrong {
                self.find(structure, Problem::DescriptorBackupDiffers { group: number });
                return Ok(());
            }
        }
        Ok(())
    }
}

/// A descriptor in its full length, of which the image may have less.
fn descriptor_of(bytes: &[u8]) -> GroupDesc {
    let mut descriptor = GroupDesc::new_zeroed();
    let len = bytes.len().min(size_of::<GroupDesc>());
    descriptor.as_mut_bytes()[..len].copy_from_slice(&bytes[..len]);
    descriptor
}

/// Where the bitmaps and the inode table of a group are.
fn places(descriptor: &GroupDesc) -> [u64; 3] {
    let wide = |lo: u32, hi: u32| u64::from(lo) | u64::from(hi) << 32;
    [
        wide(descriptor.block_bitmap_lo.get(), descriptor.block_bitmap_hi.get()),
        wide(descriptor.inode_bitmap_lo.get(), descriptor.inode_bitmap_hi.get()),
        descriptor.inode_table(),
    ]
}
