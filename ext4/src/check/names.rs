//! Connections of directories and counts of links (passes 3 and 4 of e2fsck).

use std::collections::BTreeMap;

use super::{Check, Problem};
use crate::disk::features::Features;
use crate::disk::inode::InodeFlags;
use crate::file_type::FileType;
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::tree::MAX_LINKS;
use crate::units::Ino;

/// Parents of directories, by the number of the directory.
#[derive(Default)]
pub(super) struct Names {
    /// The directory that has its name.
    pub(super) parents: BTreeMap<u32, u32>,
    /// Its entry `..`.
    pub(super) dot_dot: BTreeMap<u32, u32>,
    /// There may be other names, in blocks or inodes that were not checked.
    pub(super) are_partial: bool,
}

impl<R: ReadAt> Check<R> {
    /// Compares the parent of each directory with its `..`, and follows the parents up to the root.
    pub(super) fn connections(&mut self) {
        let root = Ino::ROOT.get();
        if !self.inodes.get(root).is_some_and(|fact| fact.is_directory()) {
            self.find(Structure::Inode { ino: root }, Problem::RootMissing);
        }
        let names = std::mem::take(&mut self.names);
        // By directory: its ancestors end at the root.
        let mut known: BTreeMap<u32, bool> = BTreeMap::from([(root, true)]);
        for (&directory, &found) in &names.dot_dot {
            let structure = Structure::Inode { ino: directory };
            let parent = if directory == root {
                Some(root)
            } else {
                names.parents.get(&directory).copied()
            };
            if let Some(expected) = parent.filter(|&parent| parent != found) {
                self.find(structure, Problem::ParentWrong { found, expected });
            }
            let mut path = Vec::new();
            let mut at = directory;
            let reaches = loop {
                if let Some(&reaches) = known.get(&at) {
                    break reaches;
                }
                // One that is met again before it is known is in a circle.
                known.insert(at, false);
                path.push(at);
                match names.parents.get(&at) {
                    Some(&parent) => at = parent,
                    None => break names.are_partial,
                }
            };
            known.extend(path.into_iter().map(|directory| (directory, reaches)));
            if !reaches && names.parents.contains_key(&directory) {
                self.find(structure, Problem::DirectoryUnreachable);
            }
        }
        self.names = names;
    }

    /// Compares the links of each inode with those found.
    pub(super) fn link_counts(&mut self) -> Result<(), ReadError> {
        let are_partial = self.names.are_partial;
        let has_dir_nlink = self.reader.superblock().has(Features::DIR_NLINK);
        let numbers: Vec<u32> = self.inodes.numbers().collect();
        for ino in numbers {
            let Some(fact) = self.inodes.get(ino).copied() else {
                continue;
            };
            let structure = Structure::Inode { ino };
            if fact.is_foreign {
                continue;
            }
            if fact.is_nameless {
                let is_named = fact.found > 0;
                self.expect(!is_named, structure, Problem::NameUnexpected);
                let first = self.reader.superblock().first_ino.get();
                if ino >= first && !self.value_inodes.contains_key(&ino) && self.is_value(ino)? {
                    self.find(structure, Problem::XattrValueUnused);
                }
                continue;
            }
            if fact.is_orphan {
                self.expect(fact.found == 0, structure, Problem::OrphanNamed);
                continue;
            }
            let has_name = if fact.is_directory() {
                ino == Ino::ROOT.get() || self.names.parents.contains_key(&ino)
            } else {
                fact.found > 0
            };
            self.expect(has_name || are_partial, structure, Problem::NameMissing);
            let may_have_more =
                are_partial && (fact.found < fact.links.into() || fact.is_directory() && fact.links == 1);
            let is_right = if may_have_more {
                true
            } else if fact.is_directory() && fact.found > MAX_LINKS {
                has_dir_nlink && fact.links == 1
            } else {
                u32::from(fact.links) == fact.found || fact.links == 1 && self.was_uncounted(ino)?
            };
            let (found, expected) = (fact.links, fact.found);
            self.expect(is_right, structure, Problem::LinkCountWrong { found, expected });
        }
        Ok(())
    }

    /// Returns whether a directory may have had more links than the kernel counts, and lost some:
    /// it does not count them again then.
    fn was_uncounted(&mut self, ino: u32) -> Result<bool, ReadError> {
        let checked = self.reread_inode(Ino(ino))?;
        Ok(checked.is_some_and(|checked| {
            let has_index = checked.flags.contains(InodeFlags::INDEX);
            has_index && checked.file_type() == Some(FileType::Directory)
        }))
    }

    fn is_value(&mut self, ino: u32) -> Result<bool, ReadError> {
        let checked = self.reread_inode(Ino(ino))?;
        Ok(checked.is_some_and(|checked| checked.flags.contains(InodeFlags::EA_INODE)))
    }
}
