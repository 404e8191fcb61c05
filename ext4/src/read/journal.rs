//! Reads an image with a journal that was not replayed as if it had been (`jbd2_journal_recover`).
//!
//! Nothing is written. The reader looks up each block in an overlay first: a map from blocks of
//! the file system to their content in the journal.

mod log;
mod replay;

use crate::disk::features::Features;
use crate::disk::journal::MAGIC;
use crate::read_at::ReadAt;
use std::collections::BTreeMap;

use super::checksums::{superblock_checksum_ok, verify_checksum};
use super::{ReadError, Reader, Structure, read_at};
use crate::units::{BlockNr, Ino};

pub(crate) use log::JournalLog;

/// Blocks of the file system whose current content is in the journal, by number.
pub(super) type JournalOverlay = BTreeMap<u64, OverlayBlock>;

/// Content of a block, in the journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct OverlayBlock {
    block: BlockNr,
    /// The content begins with the journal's magic number, which the journal replaces by zeros.
    escaped: bool,
}

impl<R: ReadAt> Reader<R> {
    /// Reads the journal if it has to be replayed and can be read, and makes its blocks the
    /// overlay.
    pub(crate) fn overlay_journal(&mut self) -> Result<(), ReadError> {
        self.needs_recovery = self.superblock.has(Features::NEEDS_RECOVERY);
        if !self.needs_recovery || self.has_external_journal() || self.check_known_features().is_err() {
            return Ok(());
        }
        let journal = self.read_inode(Ino(self.superblock.journal_inum.get()))?;
        let extents = self.extents(&journal)?;
        let log = JournalLog::open(self, extents, journal.size)?;
        self.overlay = replay::replay(self, &log)?;
        // The journal may hold a newer superblock.
        let superblock = self.read_superblock()?;
        verify_checksum(superblock_checksum_ok(&superblock), Structure::Superblock)?;
        self.set_superblock(superblock)
    }

    /// Returns whether the journal, if there is one, is on another device.
    pub(crate) fn has_external_journal(&self) -> bool {
        self.superblock.journal_inum.get() == 0
    }

    /// Reads bytes of the image as they are after a replay of the journal.
    pub(crate) fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        if self.overlay.is_empty() {
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
            match self.overlay.get(&block).copied() {
                None => read_at(&self.input, at, part)?,
                Some(copy) => {
                    let at = self.offset_of_block(copy.block.get()) + skip;
                    read_at(&self.input, at, part)?;
                    if copy.escaped {
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
