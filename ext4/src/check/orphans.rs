//! Checks orphans: files that were open without a name, or were being truncated, at the time of a
//! crash (`release_orphan_inodes` of e2fsck). They are in a list, or in a file of their numbers.

use zerocopy::FromBytes;

use super::{Checker, Problem, report_unreadable};
use crate::checksum::Seed;
use crate::disk::block_map;
use crate::disk::features::Features;
use crate::disk::orphan_file::{MAGIC, OrphanBlockTail};
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Ino};

impl<R: ReadAt> Checker<R> {
    /// Reads the orphan list and the orphan file.
    pub(super) fn collect_orphans(&mut self) -> Result<(), ReadError> {
        self.read_orphan_list()?;
        if self.reader.superblock().has(Features::ORPHAN_FILE) {
            self.read_orphan_file()?;
        }
        Ok(())
    }

    /// Reads the orphan list: the time of deletion of each inode is the number of the next inode.
    fn read_orphan_list(&mut self) -> Result<(), ReadError> {
        let mut next = self.reader.superblock().last_orphan.get();
        let mut structure = Structure::Superblock;
        while next != 0 && self.add_orphan(structure, next) {
            let Some(checked) = self.reread_inode(Ino(next))? else {
                break;
            };
            structure = checked.structure();
            next = checked.inode.dtime.get();
        }
        Ok(())
    }

    /// Reads the inode numbers in the orphan file.
    fn read_orphan_file(&mut self) -> Result<(), ReadError> {
        let superblock = self.reader.superblock();
        let ino = Ino(superblock.orphan_file_inum.get());
        let may_have_orphans = superblock.has(Features::NEEDS_RECOVERY | Features::ORPHAN_PRESENT);
        let structure = Structure::Inode { ino: ino.get() };
        let read = self.reader.read_inode(ino);
        let Some(inode) = report_unreadable(read, structure, &mut self.findings)? else {
            return Ok(());
        };
        let Some(checked) = self.reread_inode(ino)? else {
            return Ok(());
        };
        let seed = self.reader.checksum_mode().seed();
        let seed = seed.map(|seed| seed.of_inode(ino, checked.inode.generation.get()));
        let extents = self.reader.extents(&inode);
        for extent in report_unreadable(extents, structure, &mut self.findings)?.unwrap_or_default() {
            for block in extent.range().blocks().map(BlockNr::get) {
                let Some(bytes) = self.read_block(structure, block)? else {
                    return Ok(());
                };
                if !self.read_orphan_block(structure, block, &bytes, seed, may_have_orphans) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Reads a block of the orphan file: inode numbers, with zeros between them. Returns whether
    /// the block is valid.
    fn read_orphan_block(
        &mut self,
        structure: Structure,
        block: u64,
        bytes: &[u8],
        seed: Option<Seed>,
        may_have_orphans: bool,
    ) -> bool {
        let (numbers, tail) = OrphanBlockTail::ref_from_suffix(bytes).expect("a block has room for it");
        let checksum = |seed: Seed| seed.crc(&block.to_le_bytes()).crc(numbers).sum();
        if tail.magic.get() != MAGIC || seed.is_some_and(|seed| tail.checksum.get() != checksum(seed)) {
            self.report(structure, Problem::OrphanBlockWrong { block });
            return false;
        }
        for ino in block_map::numbers(numbers).filter(|&ino| ino != 0) {
            if !may_have_orphans {
                self.report(structure, Problem::OrphanUnexpected { ino });
            }
            self.add_orphan(structure, ino);
        }
        true
    }

    /// Adds an orphan. Returns whether it is valid and new.
    fn add_orphan(&mut self, structure: Structure, ino: u32) -> bool {
        let superblock = self.reader.superblock();
        let files = superblock.first_inode()..=superblock.inodes_count.get();
        if !files.contains(&ino) {
            self.report(structure, Problem::OrphanNotFile { ino });
            return false;
        }
        let is_new = self.orphans.insert(ino);
        self.require(is_new, structure, Problem::OrphanTwice { ino });
        is_new
    }

    /// Checks that all orphans are in use, once all inodes were checked.
    pub(super) fn check_orphans(&mut self) {
        for &ino in &self.orphans {
            let is_used = self.inodes.get(ino).is_some() || self.is_in_unknown_group(ino);
            self.findings
                .require(is_used, Structure::Inode { ino }, Problem::OrphanUnused);
        }
    }
}
