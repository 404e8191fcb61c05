//! Which directory each directory is in, and how many names each inode has (passes 3 and 4 of e2fsck).

use std::collections::BTreeMap;

use super::{Check, Problem};
use crate::disk::features::Features;
use crate::disk::inode::InodeFlags;
use crate::file_type::FileType;
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::tree::MAX_LINKS;
use crate::units::Ino;

/// Where directories are, by their number.
#[derive(Default)]
pub(super) struct Names {
    /// The directory that has its name; the root is in itself.
    pub(super) above: BTreeMap<u32, u32>,
    /// What `..` in it says.
    pub(super) dot_dot: BTreeMap<u32, u32>,
    /// Whether there may be others, in what was not looked at.
    pub(super) are_partial: bool,
}

impl<R: ReadAt> Check<R> {
    pub(super) fn names(&mut self) -> Result<(), ReadError> {
        self.connections();
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
                ino == Ino::ROOT.get() || self.names.above.contains_key(&ino)
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
            self.expect(
                is_right,
                structure,
                Problem::LinkCountWrong {
                    found: fact.links,
                    expected: fact.found,
                },
            );
        }
        Ok(())
    }

    /// Whether it can have had more links than are counted, and lost some: then the kernel does not count them again.
    fn was_uncounted(&mut self, ino: u32) -> Result<bool, ReadError> {
        let checked = self.again(Ino(ino))?;
        Ok(checked.is_some_and(|checked| {
            let has_index = checked.flags.contains(InodeFlags::INDEX);
            has_index && checked.file_type() == Some(FileType::Directory)
        }))
    }

    fn is_value(&mut self, ino: u32) -> Result<bool, ReadError> {
        let checked = self.again(Ino(ino))?;
        Ok(checked.is_some_and(|checked| checked.flags.contains(InodeFlags::EA_INODE)))
    }

    /// Whether each directory is where it says, and can be reached from the root.
    fn connections(&mut self) {
        let root = Ino::ROOT.get();
        if !self.inodes.get(root).is_some_and(|fact| fact.is_directory()) {
            self.find(Structure::Inode { ino: root }, Problem::RootMissing);
        }
        let names = std::mem::take(&mut self.names);
        // Whether the way from a directory up ends at the root.
        let mut known: BTreeMap<u32, bool> = BTreeMap::from([(root, true)]);
        for (&directory, &said) in &names.dot_dot {
            let structure = Structure::Inode { ino: directory };
            let above = if directory == root {
                Some(root)
            } else {
                names.above.get(&directory).copied()
            };
            if let Some(above) = above
                && above != said
            {
                self.find(
                    structure,
                    Problem::ParentWrong {
                        found: said,
                        expected: above,
                    },
                );
            }
            let mut way = Vec::new();
            let mut at = directory;
            let reaches = loop {
                if let Some(&reaches) = known.get(&at) {
                    break reaches;
                }
                // Until it is known, what is met again is a circle.
                known.insert(at, false);
                way.push(at);
                match names.above.get(&at) {
                    Some(&above) => at = above,
                    None => break names.are_partial,
                }
            };
            known.extend(way.into_iter().map(|directory| (directory, reaches)));
            if !reaches && names.above.contains_key(&directory) {
                self.find(structure, Problem::DirectoryUnreachable);
            }
        }
        self.names = names;
    }
}
