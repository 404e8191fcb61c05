//! The journal: its superblock, and what it holds if it was not replayed.

use super::{Check, found};
use crate::disk::journal::MIN_BLOCKS;
use crate::disk::superblock::JOURNAL_BACKUP_BLOCKS;
use crate::file_type::FileType;
use crate::read::facts::compat;
use crate::read::journal::Log;
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::units::Ino;

impl<R: ReadAt> Check<R> {
    pub(super) fn journal(&mut self) -> Result<(), ReadError> {
        let superblock = self.reader.superblock();
        let ino = superblock.journal_inum.get();
        let has_journal = superblock.has_compat(compat::HAS_JOURNAL);
        let structure = Structure::Journal;
        if !has_journal {
            // The number of its device alone is no fault.
            let is_elsewhere = superblock.journal_uuid != [0; 16];
            self.findings.expect(ino == 0, Structure::Superblock, || {
                format!("it has no journal, and one in inode {ino}")
            });
            self.findings.expect(!is_elsewhere, Structure::Superblock, || {
                "it has no journal, and one on another device".to_owned()
            });
            return Ok(());
        }
        if self.reader.has_journal_elsewhere() || superblock.journal_uuid != [0; 16] {
            self.find(
                Structure::Superblock,
                "its journal is on another device, and cannot be looked at",
            );
            return Ok(());
        }
        self.findings
            .expect(ino == Ino::JOURNAL.get(), Structure::Superblock, || {
                format!("the journal is in inode {ino}")
            });
        let needs_recovery = self.reader.info().needs_recovery;
        let log = self.log(Ino(ino));
        if let Some(log) = found(log, structure, &mut self.findings)? {
            self.findings.expect(needs_recovery || log.start == 0, structure, || {
                "it holds something, and the superblock does not say that it has to be replayed".to_owned()
            });
            self.findings.expect(log.errno == 0, structure, || {
                format!("it notes error {}", log.errno.cast_signed())
            });
            self.findings.expect(log.users <= 1, structure, || {
                format!("{} file systems share it", log.users)
            });
        }
        Ok(())
    }

    /// Whether the superblock's copy of the journal's map and size is right; by it e2fsck finds a journal whose inode is lost.
    pub(super) fn journal_backup(&mut self) -> Result<(), ReadError> {
        let superblock = self.reader.superblock();
        let (backup, journal) = (superblock.jnl_blocks, superblock.journal_inum.get());
        if superblock.jnl_backup_type != JOURNAL_BACKUP_BLOCKS || journal == 0 {
            return Ok(());
        }
        let Some(checked) = self.again(Ino(journal))? else {
            return Ok(());
        };
        let (words, _) = checked.inode.block.as_chunks::<4>();
        let map = words.iter().map(|word| u32::from_le_bytes(*word));
        let size = [checked.inode.size_high.get(), checked.inode.size_lo.get()];
        let is_right = map.chain(size).eq(backup.iter().map(|word| word.get()));
        self.findings.expect(is_right, Structure::Superblock, || {
            "its copy of where the journal is is not what the journal's inode says".to_owned()
        });
        Ok(())
    }

    fn log(&mut self, ino: Ino) -> Result<Log, ReadError> {
        let inode = self.reader.read_inode(ino)?;
        let damaged = |what| Err(ReadError::Journal { what });
        if inode.file_type != FileType::RegularFile || inode.links != 1 {
            return damaged("its inode is not a file with one link");
        }
        if inode.size < u64::from(MIN_BLOCKS) * self.reader.block_size() as u64 {
            return damaged("it is too short");
        }
        let extents = self.reader.extents(&inode)?;
        Log::open(&self.reader, extents, inode.size)
    }
}
