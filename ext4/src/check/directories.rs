//! Blocks of directories, one after the other (pass 2 of e2fsck).

use super::index::Index;
use super::inodes::CheckedInode;
use super::{Check, Problem, found, is_zeros};
use crate::checksum::Seed;
use crate::disk::dir_entry::index_entries;
use crate::disk::hash::NameHasher;
use crate::disk::inode::{BLOCK_LEN, InodeFlags};
use crate::read::sums::{is_right_index_node, is_right_leaf};
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Ino};

/// Most blocks of a directory that may be zeros. Nobody writes such a block, even one of 64 KiB,
/// for which zeros are a length (`ext4_rec_len_to_disk`), and holes have any number of them.
const MAX_ZEROS: u32 = 16;

/// A directory whose blocks are being checked.
pub(super) struct Directory {
    pub(super) ino: Ino,
    /// Seed of its blocks' checksums, if they have any.
    pub(super) seed: Option<Seed>,
    /// Two hashes of each name, to find names that are there twice; not those of the index, which
    /// may be weak.
    pub(super) fingerprints: Vec<(u64, u32)>,
    /// Hash of names in its index, if it has one.
    pub(super) hasher: Option<NameHasher>,
    /// Smallest and largest hash of a name in the last block.
    pub(super) hashes: Option<(u32, u32)>,
}

impl<R: ReadAt> Check<R> {
    pub(super) fn directories(&mut self) -> Result<(), ReadError> {
        let directories = self.inodes.numbers().filter(|&ino| {
            let fact = self.inodes.get(ino);
            fact.is_some_and(|fact| fact.is_directory() && !fact.is_orphan)
        });
        let directories: Vec<u32> = directories.collect();
        for ino in directories {
            if self.findings.is_over() {
                break;
            }
            if let Some(checked) = self.reread_inode(Ino(ino))? {
                self.directory(&checked)?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, checked: &CheckedInode) -> Result<(), ReadError> {
        let seed = self.reader.sums().seed();
        let mut directory = Directory {
            ino: checked.ino,
            seed: seed.map(|seed| seed.of_inode(checked.ino, checked.inode.generation.get())),
            fingerprints: Vec::new(),
            hasher: None,
            hashes: None,
        };
        if checked.flags.contains(InodeFlags::INLINE_DATA) {
            self.inline(checked, &mut directory)?;
        } else {
            self.blocks(checked, &mut directory)?;
        }
        directory.fingerprints.sort_unstable();
        let is_unique = directory.fingerprints.windows(2).all(|pair| pair[0] != pair[1]);
        self.expect(is_unique, checked.structure(), Problem::NameTwice);
        Ok(())
    }

    /// Checks entries in the inode: the number of the parent, then two parts that no entry crosses.
    fn inline(&mut self, checked: &CheckedInode, directory: &mut Directory) -> Result<(), ReadError> {
        let structure = checked.structure();
        let content = self.reader.read_inode(checked.ino).and_then(|inode| {
            let len = usize::try_from(checked.size)
                .ok()
                .filter(|&len| len <= checked.bytes.len());
            let len = len.ok_or(ReadError::Inode {
                ino: checked.ino.get(),
                what: "it is too small for its content",
            })?;
            self.reader.read_whole(&inode, len)
        });
        let Some(content) = found(content, structure, &mut self.findings)? else {
            return Ok(());
        };
        let (first, second) = content.split_at(content.len().min(BLOCK_LEN));
        let Some((parent, first)) = first.split_first_chunk::<4>() else {
            self.find(structure, Problem::DirectoryEmpty);
            return Ok(());
        };
        self.dots(directory.ino, u32::from_le_bytes(*parent), structure);
        self.entries(structure, directory, first);
        self.entries(structure, directory, second);
        Ok(())
    }

    /// Counts the links that `.` and `..` are.
    pub(super) fn dots(&mut self, directory: Ino, parent: u32, structure: Structure) {
        if let Some(fact) = self.inodes.get_mut(directory.get()) {
            fact.found += 1;
        }
        self.names.dot_dot.insert(directory.get(), parent);
        let parent_fact = self.inodes.get_mut(parent).filter(|fact| fact.is_directory());
        if let Some(fact) = parent_fact {
            fact.found += 1;
        } else if !self.is_unknown(parent) {
            self.find(structure, Problem::DotDotNotDirectory { ino: parent });
        }
    }

    fn blocks(&mut self, checked: &CheckedInode, directory: &mut Directory) -> Result<(), ReadError> {
        let blocks = self.blocks_of(checked, false)?;
        let has_index = checked.flags.contains(InodeFlags::INDEX);
        let mut index = None;
        let mut zeros = 0;
        for extent in &blocks.extents {
            let ino = checked.ino.get();
            let numbers = extent.range().blocks().map(BlockNr::get);
            for (logical, block) in (extent.logical..=u32::MAX).zip(numbers) {
                let structure = Structure::DirectoryBlock { ino, block };
                let Some(bytes) = self.filled_block(structure, block)? else {
                    continue;
                };
                if has_index && logical == 0 {
                    let structure = Structure::IndexNode { ino, block };
                    self.node_sum(directory, structure, &bytes, true);
                    self.first_entries(structure, directory, &bytes, true);
                    index = self.index(structure, directory, &blocks, &bytes)?;
                } else if index.as_ref().is_some_and(|index| index.is_node(logical)) {
                    self.node_sum(directory, Structure::IndexNode { ino, block }, &bytes, false);
                } else {
                    self.entry_block(structure, directory, logical, &bytes);
                    if let Some(index) = &index {
                        self.leaf_range(structure, index, logical, directory);
                    }
                }
                zeros += u32::from(is_zeros(&bytes));
                if zeros > MAX_ZEROS {
                    self.names.are_partial = true;
                    self.find(checked.structure(), Problem::DirectoryCheckStopped);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn node_sum(&mut self, directory: &Directory, structure: Structure, bytes: &[u8], is_root: bool) {
        let entries = index_entries(bytes, is_root);
        let is_right = match (directory.seed, entries) {
            (None, _) => true,
            (Some(seed), Some(entries)) => is_right_index_node(bytes, entries, seed),
            (Some(_), None) => false,
        };
        if !is_right {
            self.find(structure, Problem::ChecksumWrong);
        }
    }

    fn entry_block(&mut self, structure: Structure, directory: &mut Directory, logical: u32, bytes: &[u8]) {
        if directory.seed.is_some_and(|seed| !is_right_leaf(bytes, seed)) {
            self.find(structure, Problem::ChecksumWrong);
        }
        directory.hashes = None;
        if logical == 0 {
            self.first_entries(structure, directory, bytes, false);
        } else {
            self.entries(structure, directory, bytes);
        }
    }

    /// Compares the hashes of the names in a leaf with the range that the index gives it.
    fn leaf_range(&mut self, structure: Structure, index: &Index, logical: u32, directory: &Directory) {
        let (Some((smallest, largest)), Some(range)) = (directory.hashes, index.leaf(logical)) else {
            return;
        };
        let is_right = smallest >= range.first & !1
            && range.next.is_none_or(|next| {
                // The next block goes on with the same hash if the lowest bit says so.
                if next & 1 == 1 {
                    largest <= next & !1
                } else {
                    largest < next
                }
            });
        self.expect(is_right, structure, Problem::IndexRangeWrong { smallest, largest });
    }
}
