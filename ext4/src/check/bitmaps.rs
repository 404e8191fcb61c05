//! The bitmaps and the counts, against what is in use (pass 5 of e2fsck).

use super::ownership::set;
use super::{Check, found};
use crate::checksum;
use crate::disk::group_desc::GroupFlags;
use crate::read::facts::incompat;
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;

/// What of a bitmap's first bits is in use, and what it says.
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
        let facts = self.reader.info();
        // A kernel that had no time to unmount did not write them.
        if self.reader.has_incompat(incompat::RECOVER) {
            return Ok(());
        }
        self.findings
            .expect(facts.free_block_count == free_blocks, Structure::Superblock, || {
                format!("{} free blocks instead of {free_blocks}", facts.free_block_count)
            });
        let found = u64::from(facts.free_inode_count);
        self.findings.expect(found == free_inodes, Structure::Superblock, || {
            format!("{found} free inodes instead of {free_inodes}")
        });
        Ok(())
    }

    /// Returns how many blocks of the group are free.
    fn block_bitmap(&mut self, group: u32) -> Result<u32, ReadError> {
        let described = &self.groups[group as usize];
        let (at, sum, said) = (
            described.block_bitmap,
            described.block_bitmap_sum,
            described.free_blocks,
        );
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
        self.report(structure, &compared, "block", start);
        if let Some(bitmap) = bitmap.filter(|_| is_written) {
            self.padding(structure, &bitmap, count);
        }
        let free = count - compared.used;
        self.findings
            .expect(said == free, Structure::GroupDescriptor { group }, || {
                format!("{said} free blocks instead of {free}")
            });
        Ok(free)
    }

    /// The bitmap of a group in which nothing is in use but what every group has: its copies, and its own bitmaps and table.
    fn unwritten(&self, group: u32) -> Vec<u8> {
        let mut bitmap = vec![0; self.reader.block_size()];
        let (start, end) = (self.group_start(group), self.group_end(group));
        let mut mark = |from: u64, count: u64| {
            for block in from.max(start)..from.saturating_add(count).min(end) {
                set(&mut bitmap, block - start);
            }
        };
        if self.reader.superblock().has_backup(group) {
            let reserved = u64::from(self.reader.superblock().reserved_gdt_blocks.get());
            mark(start, 1 + self.descriptor_blocks() + reserved);
        }
        let described = &self.groups[group as usize];
        mark(described.block_bitmap, 1);
        mark(described.inode_bitmap, 1);
        mark(described.inode_table, self.table_blocks());
        bitmap
    }

    /// Returns how many inodes of the group are free.
    fn inode_bitmap(&mut self, group: u32) -> Result<u32, ReadError> {
        let described = &self.groups[group as usize];
        let (at, sum, said) = (
            described.inode_bitmap,
            described.inode_bitmap_sum,
            described.free_inodes,
        );
        let (said_directories, is_unknown) = (described.directories, described.is_unknown);
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
        let reserved = self.reader.superblock().first_ino.get().max(11);
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
        self.report(structure, &compared, "inode", first.into());
        if let Some(bitmap) = bitmap {
            self.padding(structure, &bitmap, per_group);
        }
        let free = per_group - compared.used;
        let structure = Structure::GroupDescriptor { group };
        self.findings.expect(said == free, structure, || {
            format!("{said} free inodes instead of {free}")
        });
        self.findings.expect(said_directories == directories, structure, || {
            format!("{said_directories} directories instead of {directories}")
        });
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
            // Small descriptors have room for half of it.
            let mask = if self.reader.descriptor_size() >= 64 {
                u32::MAX
            } else {
                0xFFFF
            };
            if sum & mask != expected & mask {
                self.findings.wrong_checksum(structure);
            }
        }
        Ok(Some(block))
    }

    fn report(&mut self, structure: Structure, compared: &Compared, what: &str, first: u64) {
        if let Some((index, count)) = compared.wrong {
            let number = first + u64::from(index);
            let more = match count {
                1 => String::new(),
                _ => format!(", and so are {} more", count - 1),
            };
            self.find(structure, format!("the bit of {what} {number} is wrong{more}"));
        }
    }

    /// All bits of the block after the first `count` must be set.
    fn padding(&mut self, structure: Structure, bitmap: &[u8], count: u32) {
        let whole = count.next_multiple_of(8);
        let bytes = bitmap.get(whole as usize / 8..).unwrap_or_default();
        let is_right = (count..whole).all(|index| bit(bitmap, index)) && bytes.iter().all(|&byte| byte == 0xFF);
        self.findings.expect(is_right, structure, || {
            "the bits behind the last one are not all set".to_owned()
        });
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
