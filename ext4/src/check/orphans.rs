//! Orphans: files that were open without a name, or were being cut, when the power went (`release_orphan_inodes` of e2fsck).
//! They are in a list, or in a file of their numbers.

use std::io::{Read, Seek};

use super::{Check, Problem, found};
use crate::checksum::Seed;
use crate::read::facts::{compat, incompat, ro_compat};
use crate::read::{ReadError, Structure};
use crate::units::Ino;

/// `ob_magic`, before the checksum at the end of each block of the file.
const MAGIC: [u8; 4] = 0x0B10_CA04_u32.to_le_bytes();

impl<R: Read + Seek> Check<R> {
    pub(super) fn orphans(&mut self) -> Result<(), ReadError> {
        self.orphan_list()?;
        if self.reader.superblock().has_compat(compat::ORPHAN_FILE) {
            self.orphan_file()?;
        }
        Ok(())
    }

    /// Follows the list: each inode names the next where others say when they were deleted.
    fn orphan_list(&mut self) -> Result<(), ReadError> {
        let mut next = self.reader.superblock().last_orphan.get();
        let mut structure = Structure::Superblock;
        while next != 0 && self.orphan(structure, next) {
            let Some(checked) = self.again(Ino(next))? else {
                break;
            };
            structure = checked.structure();
            next = checked.inode.dtime.get();
        }
        Ok(())
    }

    fn orphan_file(&mut self) -> Result<(), ReadError> {
        let superblock = self.reader.superblock();
        let ino = Ino(superblock.orphan_file_inum.get());
        let may_hold =
            self.reader.has_incompat(incompat::RECOVER) && superblock.has_ro_compat(ro_compat::ORPHAN_PRESENT);
        let structure = Structure::Inode { ino: ino.get() };
        let read = self.reader.read_inode(ino);
        let Some(inode) = found(read, structure, &mut self.findings)? else {
            return Ok(());
        };
        let Some(checked) = self.again(ino)? else {
            return Ok(());
        };
        let seed = self.reader.sums().seed();
        let seed = seed.map(|seed| seed.of_inode(ino, checked.inode.generation.get()));
        let extents = self.reader.extents(&inode);
        for extent in found(extents, structure, &mut self.findings)?.unwrap_or_default() {
            for block in extent.run().start.get()..extent.run().end().get() {
                let Some(bytes) = self.block(structure, block)? else {
                    return Ok(());
                };
                if !self.orphan_block(structure, block, &bytes, seed, may_hold) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A block of the file: numbers of inodes, or zeros. Says whether it is one.
    fn orphan_block(
        &mut self,
        structure: Structure,
        block: u64,
        bytes: &[u8],
        seed: Option<Seed>,
        may_hold: bool,
    ) -> bool {
        let (numbers, tail) = bytes.split_at(bytes.len() - 8);
        let is_right = |seed: Seed| tail[4..] == seed.crc(&block.to_le_bytes()).crc(numbers).sum().to_le_bytes();
        if tail[..4] != MAGIC || !seed.is_none_or(is_right) {
            self.find(structure, Problem::OrphanBlockWrong { block });
            return false;
        }
        let (numbers, _) = numbers.as_chunks::<4>();
        let numbers = numbers.iter().map(|number| u32::from_le_bytes(*number));
        for ino in numbers.filter(|&ino| ino != 0) {
            if !may_hold {
                self.find(structure, Problem::OrphanUnexpected { ino });
            }
            self.orphan(structure, ino);
        }
        true
    }

    /// Notes an orphan, and says whether it can be one.
    fn orphan(&mut self, structure: Structure, ino: u32) -> bool {
        let superblock = self.reader.superblock();
        let files = superblock.first_ino.get().max(11)..=superblock.inodes_count.get();
        if !files.contains(&ino) {
            self.find(structure, Problem::OrphanNotFile { ino });
            return false;
        }
        let is_new = self.orphans.insert(ino);
        self.expect(is_new, structure, Problem::OrphanTwice { ino });
        is_new
    }

    /// Whether all of them are in use, once it is known what is.
    pub(super) fn orphans_in_use(&mut self) {
        for &ino in &self.orphans {
            let is_used = self.inodes.get(ino).is_some() || self.is_unknown(ino);
            self.findings
                .expect(is_used, Structure::Inode { ino }, Problem::OrphanUnused);
        }
    }
}
