//! Block groups: their descriptors, what these point to, and the copies of both.

use std::io::{Read, Seek};

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{Check, found};
use crate::disk::group_desc::{GroupDesc, GroupFlags};
use crate::disk::superblock::{MAGIC, Superblock};
use crate::read::facts::{compat, incompat, ro_compat};
use crate::read::sums::{Sums, is_right_superblock};
use crate::read::{ReadError, Structure};

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
    pub(super) block_bitmap_sum: u32,
    pub(super) inode_bitmap_sum: u32,
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

    /// Whether a group begins with a copy of the superblock.
    pub(super) fn has_superblock(&self, group: u32) -> bool {
        let superblock = self.reader.superblock();
        let powers = |base: u32| {
            let power = std::iter::successors(Some(base), move |power| power.checked_mul(base));
            power.take_while(|&power| power <= group).any(|power| power == group)
        };
        if group == 0 {
            true
        } else if superblock.has_compat(compat::SPARSE_SUPER2) {
            superblock.backup_bgs.iter().any(|backup| backup.get() == group)
        } else if superblock.has_ro_compat(ro_compat::SPARSE_SUPER) {
            group == 1 || powers(3) || powers(5) || powers(7)
        } else {
            true
        }
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

    /// Takes the places of everything that is not an inode's, and keeps what the descriptors say.
    pub(super) fn groups(&mut self) -> Result<(), ReadError> {
        let head = 1 + self.descriptor_blocks() + u64::from(self.reader.superblock().reserved_gdt_blocks.get());
        for group in 0..self.group_count {
            if self.has_superblock(group) {
                self.blocks.claim(self.group_start(group), head);
            }
        }
        for group in 0..self.group_count {
            let structure = Structure::GroupDescriptor { group };
            let descriptor = self.reader.descriptor(group);
            let Some((descriptor, bytes)) = found(descriptor, structure, &mut self.findings)? else {
                return Ok(());
            };
            let sums = self.reader.sums();
            let is_right = sums.is_right_descriptor(&bytes, &descriptor, group);
            if !is_right {
                self.findings.wrong_checksum(structure);
            }
            let has_sums = !matches!(sums, Sums::None);
            self.take(group, &descriptor, is_right, has_sums);
        }
        Ok(())
    }

    fn take(&mut self, group: u32, descriptor: &GroupDesc, is_right: bool, has_sums: bool) {
        let is_believed = is_right && has_sums;
        let structure = Structure::GroupDescriptor { group };
        let table_blocks = self.table_blocks();
        let wide = |lo: u32, hi: u32| u64::from(lo) | u64::from(hi) << 32;
        let count = |lo: u16, hi: u16| u32::from(lo) | u32::from(hi) << 16;
        let flags = GroupFlags::from_bits_retain(descriptor.flags.get());
        let unused = count(descriptor.itable_unused_lo.get(), descriptor.itable_unused_hi.get());
        let has_rest = unused != 0 || flags.intersects(GroupFlags::INODE_UNINIT | GroupFlags::BLOCK_UNINIT);
        self.findings.expect(has_sums || !has_rest, structure, || {
            "some of it was never written, and the file system has no such feature".to_owned()
        });
        let found = Group {
            block_bitmap: wide(descriptor.block_bitmap_lo.get(), descriptor.block_bitmap_hi.get()),
            inode_bitmap: wide(descriptor.inode_bitmap_lo.get(), descriptor.inode_bitmap_hi.get()),
            inode_table: descriptor.inode_table(),
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
            block_bitmap_sum: count(
                descriptor.block_bitmap_csum_lo.get(),
                descriptor.block_bitmap_csum_hi.get(),
            ),
            inode_bitmap_sum: count(
                descriptor.inode_bitmap_csum_lo.get(),
                descriptor.inode_bitmap_csum_hi.get(),
            ),
        };
        let per_group = self.reader.superblock().inodes_per_group.get();
        self.findings.expect(unused <= per_group, structure, || {
            format!("{unused} unused inodes of {per_group}")
        });
        for (what, start, count) in [
            ("block bitmap", found.block_bitmap, 1),
            ("inode bitmap", found.inode_bitmap, 1),
            ("inode table", found.inode_table, table_blocks),
        ] {
            self.place(group, what, start, count);
        }
        self.groups.push(found);
    }

    /// Takes the place of a bitmap or a table, which may lie in any group with `flex_bg`.
    fn place(&mut self, group: u32, what: &str, start: u64, count: u64) {
        let structure = Structure::GroupDescriptor { group };
        let (first, end) = if self.reader.has_incompat(incompat::FLEX_BG) {
            (self.group_start(0), self.block_count)
        } else {
            (self.group_start(group), self.group_end(group))
        };
        if start < first || start.saturating_add(count) > end {
            self.find(
                structure,
                format!("its {what} at block {start} is not where one can be"),
            );
        } else if let Some(block) = self.blocks.claim(start, count) {
            self.find(
                structure,
                format!("block {block} of its {what} belongs to something else too"),
            );
        }
    }

    /// The copies of the superblock and the descriptors. The kernel does not keep counts in them right, nor anything but what
    /// a repair needs: so no more is expected of them.
    pub(super) fn copies(&mut self) -> Result<(), ReadError> {
        for group in 1..self.group_count {
            if !self.has_superblock(group) {
                continue;
            }
            let structure = Structure::SuperblockCopy { group };
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
            self.findings.wrong_checksum(structure);
        } else if !is_same {
            self.find(structure, "it says something else than the superblock");
        }
    }

    fn descriptors_copy(&mut self, group: u32) -> Result<(), ReadError> {
        let structure = Structure::DescriptorsCopy { group };
        let size = self.reader.descriptor_size();
        let start = self.reader.offset_of_block(self.group_start(group) + 1);
        let sums = self.reader.sums();
        let mut bytes = vec![0; size];
        for other in 0..self.groups.len() {
            let read = self.reader.read_at(start + (other * size) as u64, &mut bytes);
            if found(read, structure, &mut self.findings)?.is_none() {
                return Ok(());
            }
            let mut copy = GroupDesc::new_zeroed();
            let len = size.min(size_of::<GroupDesc>());
            copy.as_mut_bytes()[..len].copy_from_slice(&bytes[..len]);
            let wide = |lo: u32, hi: u32| u64::from(lo) | u64::from(hi) << 32;
            let places = (
                wide(copy.block_bitmap_lo.get(), copy.block_bitmap_hi.get()),
                wide(copy.inode_bitmap_lo.get(), copy.inode_bitmap_hi.get()),
                copy.inode_table(),
            );
            let original = &self.groups[other];
            let number = u32::try_from(other).expect("groups are counted in 32 bits");
            if places != (original.block_bitmap, original.inode_bitmap, original.inode_table)
                || !sums.is_right_descriptor(&bytes, &copy, number)
            {
                self.find(structure, format!("that of group {number} is damaged, or another"));
                return Ok(());
            }
        }
        Ok(())
    }
}
