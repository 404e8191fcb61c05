//! A journal that was not replayed, and what the file system would be if it were (`jbd2_journal_recover`).
//!
//! Nothing is written: what the journal holds of blocks is looked up in it whenever one of these is read.

mod log;
mod replay;

use crate::disk::features::Features;
use crate::disk::journal::MAGIC;
use crate::read_at::ReadAt;
use std::collections::BTreeMap;

use super::sums::{expect, is_right_superblock};
use super::{ReadError, Reader, Structure, read_at};
use crate::units::{BlockNr, Ino};

pub(crate) use log::Log;

/// Blocks of the file system whose content is in the journal.
pub(super) type Logged = BTreeMap<u64, LoggedBlock>;

/// Where in the image the content of a block is.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoggedBlock {
    at: BlockNr,
    /// Its first four bytes are the journal's magic number, and zeros where they lie.
    is_escaped: bool,
}

impl<R: ReadAt> Reader<R> {
    /// Puts what the journal holds in its place, if that was not done and can be read.
    pub(crate) fn see_through_journal(&mut self) -> Result<(), ReadError> {
        self.needs_recovery = self.superblock.has(Features::NEEDS_RECOVERY);
        if !self.needs_recovery || self.has_journal_elsewhere() || self.check_known().is_err() {
            return Ok(());
        }
        let journal = self.read_inode(Ino(self.superblock.journal_inum.get()))?;
        let extents = self.extents(&journal)?;
        let log = Log::open(self, extents, journal.size)?;
        self.logged = replay::replay(self, &log)?;
        // The superblock that counts may lie in it, too.
        let superblock = self.read_superblock()?;
        expect(is_right_superblock(&superblock), Structure::Superblock)?;
        self.adopt(superblock)
    }

    /// Whether the journal is on a device of its own.
    pub(crate) fn has_journal_elsewhere(&self) -> bool {
        self.superblock.journal_inum.get() == 0
    }

    /// Reads bytes of the image as they would be after a replay of the journal.
    pub(crate) fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        if self.logged.is_empty() {
            return read_at(&self.input, offset, bytes);
        }
        let block_size = self.block_size as u64;
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (block, skip) = (at / block_size, at % block_size);
            let len = usize::try_from(block_size - skip).expect("less than a block");
            let len = len.min(bytes.len() - done);
            let part = &mut bytes[done..done + len];
            match self.logged.get(&block).copied() {
                None => read_at(&self.input, at, part)?,
                Some(logged) => {
                    let at = self.offset_of_block(logged.at.get()) + skip;
                    read_at(&self.input, at, part)?;
                    if logged.is_escaped {
                        let magic = MAGIC.to_be_bytes();
                        let skip = usize::try_from(skip).expect("less than a block");
                        for (byte, magic) in part.iter_mut().zip(magic.iter().skip(skip)) {
                            *byte = *magic;
                        }
                    }
                }
            }
            done += len;
        }
        Ok(())
    }
}
