//! Checks directories block by block (pass 2 of e2fsck).

use super::entries::CheckedDirectory;
use super::index::DirectoryIndex;
use super::inodes::CheckedInode;
use super::{Checker, Problem, is_zeros, report_unreadable};
use crate::disk::dir_entry::index_entries;
use crate::disk::inode::{BLOCK_LEN, InodeFlags};
use crate::read::checksums::{directory_block_checksum_ok, index_node_checksum_ok};
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Ino};

/// Maximum number of blocks of zeros in a directory. Nothing writes such a block, not even one of
/// 64 KiB, where a length of zero stands for the whole block (`ext4_rec_len_to_disk`). An image of
/// holes can have any number of them.
const MAX_ZERO_BLOCKS: u32 = 16;

impl<R: ReadAt> Checker<R> {
    pub(super) fn check_directories(&mut self) -> Result<(), ReadError> {
        let directories = self.inodes.numbers().filter(|&ino| {
            let used = self.inodes.get(ino);
            used.is_some_and(|used| used.is_directory() && !used.orphan)
        });
        let directories: Vec<u32> = directories.collect();
        for ino in directories {
            if self.findings.is_stopped() {
                break;
            }
            if let Some(checked) = self.reread_inode(Ino(ino))? {
                self.check_directory(&checked)?;
            }
        }
        Ok(())
    }

    fn check_directory(&mut self, checked: &CheckedInode) -> Result<(), ReadError> {
        let seed = self.reader.checksum_mode().seed();
        let mut directory = CheckedDirectory {
            ino: checked.ino,
            seed: seed.map(|seed| seed.of_inode(checked.ino, checked.inode.generation.get())),
            fingerprints: Vec::new(),
            hasher: None,
            hash_range: None,
        };
        if checked.flags.contains(InodeFlags::INLINE_DATA) {
            self.check_inline_directory(checked, &mut directory)?;
        } else {
            self.check_directory_blocks(checked, &mut directory)?;
        }
        directory.fingerprints.sort_unstable();
        let is_unique = directory.fingerprints.windows(2).all(|pair| pair[0] != pair[1]);
        self.require(is_unique, checked.structure(), Problem::NameTwice);
        Ok(())
    }

    /// Checks an inline directory: the inode number of the parent, then two parts that no entry
    /// crosses.
    fn check_inline_directory(
        &mut self,
        checked: &CheckedInode,
        directory: &mut CheckedDirectory,
    ) -> Result<(), ReadError> {
        let structure = checked.structure();
        let content = self.reader.read_inode(checked.ino).and_then(|inode| {
            let len = usize::try_from(checked.size)
                .ok()
                .filter(|&len| len <= checked.bytes.len());
            let len = len.ok_or(ReadError::Inode {
                ino: checked.ino.get(),
                what: "its size exceeds its inline content",
            })?;
            self.reader.read_prefix(&inode, len)
        });
        let Some(content) = report_unreadable(content, structure, &mut self.findings)? else {
            return Ok(());
        };
        let (first, second) = content.split_at(content.len().min(BLOCK_LEN));
        let Some((parent, first)) = first.split_first_chunk::<4>() else {
            self.report(structure, Problem::DirectoryEmpty);
            return Ok(());
        };
        self.count_dot_links(directory.ino, u32::from_le_bytes(*parent), structure);
        self.check_entries(structure, directory, first);
        self.check_entries(structure, directory, second);
        Ok(())
    }

    /// Counts the links of the entries `.` and `..`, and checks that the parent is a directory.
    pub(super) fn count_dot_links(&mut self, directory: Ino, parent: u32, structure: Structure) {
        if let Some(used) = self.inodes.get_mut(directory.get()) {
            used.links_found += 1;
        }
        self.parents.by_dot_dot.insert(directory.get(), parent);
        let parent_inode = self.inodes.get_mut(parent).filter(|used| used.is_directory());
        if let Some(used) = parent_inode {
            used.links_found += 1;
        } else if !self.is_in_unknown_group(parent) {
            self.report(structure, Problem::DotDotNotDirectory { ino: parent });
        }
    }

    fn check_directory_blocks(
        &mut self,
        checked: &CheckedInode,
        directory: &mut CheckedDirectory,
    ) -> Result<(), ReadError> {
        let blocks = self.list_mapped_blocks(checked)?;
        let has_index = checked.flags.contains(InodeFlags::INDEX);
        let mut index = None;
        let mut zero_blocks = 0;
        for extent in &blocks.extents {
            let ino = checked.ino.get();
            let numbers = extent.range().blocks().map(BlockNr::get);
            for (logical, block) in (extent.logical..=u32::MAX).zip(numbers) {
                let structure = Structure::DirectoryBlock { ino, block };
                let Some(bytes) = self.read_nonzero_block(structure, block)? else {
                    continue;
                };
                if has_index && logical == 0 {
                    let structure = Structure::IndexNode { ino, block };
                    self.verify_index_node(directory, structure, &bytes, true);
                    self.check_first_block(structure, directory, &bytes, true);
                    index = self.check_index(structure, directory, &blocks, &bytes)?;
                } else if index.as_ref().is_some_and(|index| index.is_node(logical)) {
                    self.verify_index_node(directory, Structure::IndexNode { ino, block }, &bytes, false);
                } else {
                    self.check_entry_block(structure, directory, logical, &bytes);
                    if let Some(index) = &index {
                        self.check_leaf_range(structure, index, logical, directory);
                    }
                }
                zero_blocks += u32::from(is_zeros(&bytes));
                if zero_blocks > MAX_ZERO_BLOCKS {
                    self.parents.incomplete = true;
                    self.report(checked.structure(), Problem::DirectoryCheckStopped);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Verifies the checksum of a block of the index.
    fn verify_index_node(&mut self, directory: &CheckedDirectory, structure: Structure, bytes: &[u8], is_root: bool) {
        let entries = index_entries(bytes, is_root);
        let is_right = match (directory.seed, entries) {
            (None, _) => true,
            (Some(seed), Some(entries)) => index_node_checksum_ok(bytes, entries, seed),
            (Some(_), None) => false,
        };
        if !is_right {
            self.report(structure, Problem::ChecksumWrong);
        }
    }

    /// Checks a block of entries and its checksum.
    fn check_entry_block(
        &mut self,
        structure: Structure,
        directory: &mut CheckedDirectory,
        logical: u32,
        bytes: &[u8],
    ) {
        if directory
            .seed
            .is_some_and(|seed| !directory_block_checksum_ok(bytes, seed))
        {
            self.report(structure, Problem::ChecksumWrong);
        }
        directory.hash_range = None;
        if logical == 0 {
            self.check_first_block(structure, directory, bytes, false);
        } else {
            self.check_entries(structure, directory, bytes);
        }
    }

    /// Checks that the hashes of the names in a leaf are in the leaf's range in the index.
    fn check_leaf_range(
        &mut self,
        structure: Structure,
        index: &DirectoryIndex,
        logical: u32,
        directory: &CheckedDirectory,
    ) {
        let (Some((smallest, largest)), Some(range)) = (directory.hash_range, index.leaf_range(logical)) else {
            return;
        };
        let is_right = smallest >= range.first & !1
            && range.next.is_none_or(|next| {
                // If the lowest bit is set, names with the same hash continue in the next block.
                if next & 1 == 1 {
                    largest <= next & !1
                } else {
                    largest < next
                }
            });
        self.require(is_right, structure, Problem::IndexRangeWrong { smallest, largest });
    }
}
