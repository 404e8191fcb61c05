//! The list of orphans: files that were open without a name, or were being cut, when the power went
//! (`release_orphan_inodes` of e2fsck).

use std::io::{Read, Seek};

use super::Check;
use crate::read::{ReadError, Structure};
use crate::units::Ino;

impl<R: Read + Seek> Check<R> {
    /// Follows the list: each inode names the next where others say when they were deleted.
    pub(super) fn orphans(&mut self) -> Result<(), ReadError> {
        let superblock = self.reader.superblock();
        let files = superblock.first_ino.get().max(11)..=superblock.inodes_count.get();
        let mut next = superblock.last_orphan.get();
        let mut structure = Structure::Superblock;
        while next != 0 {
            if !files.contains(&next) {
                self.find(
                    structure,
                    format!("the list of orphans goes on with inode {next}, which is no file"),
                );
                break;
            }
            if !self.orphans.insert(next) {
                self.find(
                    structure,
                    format!("the list of orphans goes on with inode {next}, which is in it already"),
                );
                break;
            }
            let Some(checked) = self.again(Ino(next))? else {
                break;
            };
            structure = checked.structure();
            next = checked.inode.dtime.get();
        }
        Ok(())
    }

    /// Whether all in the list are in use, once it is known what is.
    pub(super) fn orphans_in_use(&mut self) {
        for &ino in &self.orphans {
            self.findings
                .expect(self.inodes.get(ino).is_some(), Structure::Inode { ino }, || {
                    "it is in the list of orphans, and not in use".to_owned()
                });
        }
    }
}
