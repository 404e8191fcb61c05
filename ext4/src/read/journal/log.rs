//! The journal's superblock, and where its blocks are.

use zerocopy::{FromZeros, IntoBytes};

use super::super::sums::expect;
use super::super::{ReadError, Reader, Structure, read_at};
use crate::checksum::Seed;
use crate::disk::journal::{
    CHECKSUM_CRC32C, COMPAT_CHECKSUM, DEFAULT_FAST_COMMIT_BLOCKS, JournalSuperblock, MAGIC, MIN_BLOCKS, SUPERBLOCK_V2,
    TagFormat, block_type, incompat,
};
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Extent};

/// Features that change how a journal is read, and are known.
const KNOWN: u32 = incompat::REVOKE
    | incompat::BIT64
    | incompat::ASYNC_COMMIT
    | incompat::CSUM_V2
    | incompat::CSUM_V3
    | incompat::FAST_COMMIT;

/// A journal: a ring of blocks that lie in an inode.
#[derive(Debug)]
pub(crate) struct Log {
    extents: Vec<Extent>,
    /// First block of the ring.
    first: u32,
    /// The block behind its last one.
    end: u32,
    /// The block behind those that fast commits have, which follow the ring.
    pub(super) fast_commit_end: u32,
    /// Number of the first transaction.
    pub(super) sequence: u32,
    /// First block of it; zero if there is nothing to replay.
    pub(crate) start: u32,
    /// What the kernel noted of errors in it.
    pub(crate) errno: u32,
    /// How many file systems share it.
    pub(crate) users: u32,
    compat: u32,
    incompat: u32,
    pub(super) seed: Seed,
}

/// How the blocks of a journal are summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogSums {
    None,
    /// All of a transaction, by its last block (`COMPAT_CHECKSUM`).
    Transactions,
    /// Each block, 16 bits of those with content (`CSUM_V2`).
    V2,
    /// Each block (`CSUM_V3`).
    V3,
}

impl Log {
    /// Reads the superblock of a journal that lies in these extents of an inode of so many bytes.
    pub(crate) fn open<R: ReadAt>(reader: &Reader<R>, extents: Vec<Extent>, size: u64) -> Result<Self, ReadError> {
        let mut log = Self {
            extents,
            first: 0,
            end: 1,
            fast_commit_end: 1,
            sequence: 0,
            start: 0,
            errno: 0,
            users: 0,
            compat: 0,
            incompat: 0,
            seed: Seed::NONE,
        };
        let mut superblock = JournalSuperblock::new_zeroed();
        let at = reader.offset_of_block(log.block(0)?.get());
        read_at(&reader.input, at, superblock.as_mut_bytes())?;
        log.adopt(&superblock, reader.block_size, size)?;
        Ok(log)
    }

    fn adopt(&mut self, superblock: &JournalSuperblock, block_size: usize, size: u64) -> Result<(), ReadError> {
        let damaged = |what| Err(ReadError::Journal { what });
        let version = superblock.blocktype.get();
        if superblock.magic.get() != MAGIC || !matches!(version, SUPERBLOCK_V2 | block_type::SUPERBLOCK_V1) {
            return damaged("it has no superblock");
        }
        if superblock.blocksize.get() as usize != block_size {
            return damaged("its blocks have another size than those of the file system");
        }
        if version == SUPERBLOCK_V2 {
            self.compat = superblock.feature_compat.get();
            self.incompat = superblock.feature_incompat.get();
        }
        if self.incompat & !KNOWN != 0 || superblock.feature_ro_compat.get() != 0 && version == SUPERBLOCK_V2 {
            return Err(ReadError::Unsupported {
                features: format!("journal_{:#x}", self.incompat & !KNOWN),
            });
        }
        if self.has(incompat::CSUM_V2) && self.has(incompat::CSUM_V3) {
            return damaged("it has two kinds of checksums");
        }
        if matches!(self.sums(), LogSums::V2 | LogSums::V3) {
            let mut unsummed = superblock.as_bytes().to_vec();
            unsummed[std::mem::offset_of!(JournalSuperblock, checksum)..][..4].fill(0);
            let is_right = superblock.checksum_type == CHECKSUM_CRC32C
                && superblock.checksum.get() == Seed::NONE.crc(&unsummed).sum();
            expect(is_right, Structure::Journal)?;
            self.seed = Seed::of_uuid(&superblock.uuid);
        }
        self.fast_commit_end = superblock.maxlen.get();
        if u64::from(self.fast_commit_end) > size / block_size as u64 {
            return damaged("it is longer than its inode");
        }
        let fast_commit_blocks = match superblock.num_fc_blocks.get() {
            _ if !self.has(incompat::FAST_COMMIT) => 0,
            0 => DEFAULT_FAST_COMMIT_BLOCKS,
            count => count,
        };
        self.first = superblock.first.get();
        self.sequence = superblock.sequence.get();
        self.start = superblock.start.get();
        self.errno = superblock.errno.get();
        self.users = superblock.nr_users.get();
        let end = self.fast_commit_end.saturating_sub(fast_commit_blocks);
        if fast_commit_blocks > 0 && end < MIN_BLOCKS {
            return damaged("fast commits have too much of it");
        }
        self.end = end;
        if self.first == 0 || self.first >= end || self.start != 0 && !(self.first..end).contains(&self.start) {
            return damaged("what it holds begins outside of it");
        }
        Ok(())
    }

    fn has(&self, feature: u32) -> bool {
        self.incompat & feature != 0
    }

    /// Whether a transaction may be complete without what it holds having reached the disk.
    pub(super) fn commits_early(&self) -> bool {
        self.has(incompat::ASYNC_COMMIT)
    }

    pub(super) fn sums(&self) -> LogSums {
        match self.compat & COMPAT_CHECKSUM {
            _ if self.has(incompat::CSUM_V3) => LogSums::V3,
            _ if self.has(incompat::CSUM_V2) => LogSums::V2,
            0 => LogSums::None,
            _ => LogSums::Transactions,
        }
    }

    /// Form of its tags.
    pub(super) fn tags(&self) -> TagFormat {
        TagFormat::new(self.incompat)
    }

    /// Blocks of the ring.
    pub(super) fn len(&self) -> u32 {
        self.end - self.first
    }

    /// The first block that fast commits are written to, if there is one. The block before it,
    /// which follows the ring, is not used (`j_fc_first`).
    pub(super) fn fast_commits(&self) -> Option<u32> {
        let first = self.end + 1;
        (first < self.fast_commit_end).then_some(first)
    }

    /// The block that follows one in the ring.
    pub(super) fn next(&self, block: u32) -> u32 {
        if block + 1 < self.end { block + 1 } else { self.first }
    }

    /// Where in the image a block of the journal is.
    pub(super) fn block(&self, block: u32) -> Result<BlockNr, ReadError> {
        let after = self.extents.partition_point(|extent| extent.logical <= block);
        let extent = after.checked_sub(1).map(|index| self.extents[index]);
        let extent = extent.filter(|extent| block - extent.logical < extent.count);
        let extent = extent.ok_or(ReadError::Journal {
            what: "its inode has a hole",
        })?;
        Ok(extent.start + u64::from(block - extent.logical))
    }

    /// Reads a block of the journal.
    pub(super) fn read<R: ReadAt>(&self, reader: &Reader<R>, block: u32) -> Result<Vec<u8>, ReadError> {
        let at = reader.offset_of_block(self.block(block)?.get());
        let mut bytes = vec![0; reader.block_size];
        read_at(&reader.input, at, &mut bytes)?;
        Ok(bytes)
    }
}
