//! Checks the connections of directories and the link counts (passes 3 and 4 of e2fsck).

use std::collections::BTreeMap;

use super::{Checker, Problem};
use crate::disk::features::Features;
use crate::disk::inode::InodeFlags;
use crate::file_type::FileType;
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::tree::MAX_LINKS;
use crate::units::Ino;

/// Parents of directories, by the number of the directory.
#[derive(Default)]
pub(super) struct Parents {
    /// The directory with an entry for it.
    pub(super) by_entry: BTreeMap<u32, u32>,
    /// The directory that its entry `..` names.
    pub(super) by_dot_dot: BTreeMap<u32, u32>,
    /// Set if other entries may exist, in blocks or inodes that were not checked.
    pub(super) incomplete: bool,
}

impl<R: ReadAt> Checker<R> {
    /// Checks that `..` of each directory names its parent, and that each directory is reachable
    /// from the root.
    pub(super) fn check_connections(&mut self) {
        let root = Ino::ROOT.get();
        if !self.inodes.get(root).is_some_and(|used| used.is_directory()) {
            self.report(Structure::Inode { ino: root }, Problem::RootMissing);
        }
        let parents = std::mem::take(&mut self.parents);
        // By directory: whether its ancestors lead to the root.
        let mut known: BTreeMap<u32, bool> = BTreeMap::from([(root, true)]);
        for (&directory, &found) in &parents.by_dot_dot {
            let structure = Structure::Inode { ino: directory };
            let parent = if directory == root {
                Some(root)
            } else {
                parents.by_entry.get(&directory).copied()
            };
            if let Some(expected) = parent.filter(|&parent| parent != found) {
                self.report(structure, Problem::ParentWrong { found, expected });
            }
            let mut path = Vec::new();
            let mut at = directory;
            let reaches = loop {
                if let Some(&reaches) = known.get(&at) {
                    break reaches;
                }
                // A directory that is visited again before its result is known is in a cycle.
                known.insert(at, false);
                path.push(at);
                match parents.by_entry.get(&at) {
                    Some(&parent) => at = parent,
                    None => break parents.incomplete,
                }
            };
            known.extend(path.into_iter().map(|directory| (directory, reaches)));
            if !reaches && parents.by_entry.contains_key(&directory) {
                self.report(structure, Problem::DirectoryUnreachable);
            }
        }
        self.parents = parents;
    }

    /// Compares the link count of each inode with the links found.
    pub(super) fn check_link_counts(&mut self) -> Result<(), ReadError> {
        let incomplete = self.parents.incomplete;
        let has_dir_nlink = self.reader.superblock().has(Features::DIR_NLINK);
        let numbers: Vec<u32> = self.inodes.numbers().collect();
        for ino in numbers {
            let Some(used) = self.inodes.get(ino).copied() else {
                continue;
            };
            let structure = Structure::Inode { ino };
            if used.afs {
                continue;
            }
            if used.nameless {
                let is_named = used.links_found > 0;
                self.require(!is_named, structure, Problem::NameUnexpected);
                let first = self.reader.superblock().first_ino.get();
                if ino >= first && !self.value_inodes.contains_key(&ino) && self.holds_xattr_value(ino)? {
                    self.report(structure, Problem::XattrValueUnused);
                }
                continue;
            }
            if used.orphan {
                self.require(used.links_found == 0, structure, Problem::OrphanNamed);
                continue;
            }
            let has_name = if used.is_directory() {
                ino == Ino::ROOT.get() || self.parents.by_entry.contains_key(&ino)
            } else {
                used.links_found > 0
            };
            self.require(has_name || incomplete, structure, Problem::NameMissing);
            let may_have_more =
                incomplete && (used.links_found < used.links.into() || used.is_directory() && used.links == 1);
            let is_right = if may_have_more {
                true
            } else if used.is_directory() && used.links_found > MAX_LINKS {
                has_dir_nlink && used.links == 1
            } else {
                u32::from(used.links) == used.links_found || used.links == 1 && self.was_uncounted(ino)?
            };
            let (found, expected) = (used.links, used.links_found);
            self.require(is_right, structure, Problem::LinkCountWrong { found, expected });
        }
        Ok(())
    }

    /// Returns whether a directory may have had more links than the kernel can count. The kernel
    /// then keeps its link count at 1, even if it loses links.
    fn was_uncounted(&mut self, ino: u32) -> Result<bool, ReadError> {
        let checked = self.reread_inode(Ino(ino))?;
        Ok(checked.is_some_and(|checked| {
            let has_index = checked.flags.contains(InodeFlags::INDEX);
            has_index && checked.file_type() == Some(FileType::Directory)
        }))
    }

    fn holds_xattr_value(&mut self, ino: u32) -> Result<bool, ReadError> {
        let checked = self.reread_inode(Ino(ino))?;
        Ok(checked.is_some_and(|checked| checked.flags.contains(InodeFlags::EA_INODE)))
    }
}
