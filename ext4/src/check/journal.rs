//! Checks the journal: its superblock, and whether it should be empty.

use super::{Checker, Problem, report_unreadable};
use crate::disk::features::Features;
use crate::disk::journal::MIN_BLOCKS;
use crate::file_type::FileType;
use crate::read::journal::JournalLog;
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::units::{Ino, signed};

impl<R: ReadAt> Checker<R> {
    /// Checks whether the file system may have a journal, and the journal's superblock.
    pub(super) fn check_journal(&mut self) -> Result<(), ReadError> {
        let superblock = self.reader.superblock();
        let ino = superblock.journal_inum.get();
        let has_journal = superblock.has(Features::HAS_JOURNAL);
        let structure = Structure::Journal;
        if !has_journal {
            // A device number alone is not a fault.
            let is_elsewhere = superblock.journal_uuid != [0; 16];
            self.require(ino == 0, Structure::Superblock, Problem::JournalInodeUnexpected { ino });
            self.require(!is_elsewhere, Structure::Superblock, Problem::JournalDeviceUnexpected);
            return Ok(());
        }
        if self.reader.has_external_journal() || superblock.journal_uuid != [0; 16] {
            self.report(Structure::Superblock, Problem::JournalElsewhere);
            return Ok(());
        }
        self.require(
            ino == Ino::JOURNAL.get(),
            Structure::Superblock,
            Problem::JournalInodeWrong { ino },
        );
        let needs_recovery = self.reader.info().needs_recovery;
        let log = self.open_journal(Ino(ino));
        if let Some(log) = report_unreadable(log, structure, &mut self.findings)? {
            self.require(needs_recovery || log.start == 0, structure, Problem::JournalNotEmpty);
            self.require(
                log.errno == 0,
                structure,
                Problem::JournalError {
                    errno: signed(log.errno),
                },
            );
            self.require(log.users <= 1, structure, Problem::JournalShared { users: log.users });
        }
        Ok(())
    }

    /// Checks the superblock's copy of the journal's block map and size. e2fsck uses it to find a
    /// journal whose inode is lost.
    pub(super) fn check_journal_backup(&mut self) -> Result<(), ReadError> {
        let superblock = self.reader.superblock();
        let (backup, journal) = (superblock.journal_backup(), superblock.journal_inum.get());
        let Some(backup) = backup.filter(|_| journal != 0) else {
            return Ok(());
        };
        let Some(checked) = self.reread_inode(Ino(journal))? else {
            return Ok(());
        };
        let is_right = backup == (checked.inode.block, checked.size);
        self.require(is_right, Structure::Superblock, Problem::JournalBackupDiffers);
        Ok(())
    }

    fn open_journal(&mut self, ino: Ino) -> Result<JournalLog, ReadError> {
        let inode = self.reader.read_inode(ino)?;
        let damaged = |what| Err(ReadError::Journal { what });
        if inode.file_type != FileType::RegularFile || inode.links != 1 {
            return damaged("its inode is not a regular file with one link");
        }
        if inode.size < u64::from(MIN_BLOCKS) * self.reader.block_size() as u64 {
            return damaged("it has fewer than 1,024 blocks");
        }
        let extents = self.reader.extents(&inode)?;
        JournalLog::open(&self.reader, extents, inode.size)
    }
}
