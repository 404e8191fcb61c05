//! Reads the superblock of the journal, and maps blocks of the journal to blocks of the image.

use zerocopy::{FromZeros, IntoBytes};

use super::super::checksums::verify_checksum;
use super::super::{ReadError, Reader, Structure, read_at};
use crate::checksum::Seed;
use crate::disk::journal::{
    CHECKSUM_CRC32C, COMPAT_CHECKSUM, DEFAULT_FAST_COMMIT_BLOCKS, JournalSuperblock, MAGIC, MIN_BLOCKS, SUPERBLOCK_V2,
    TagFormat, block_type, incompat,
};
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Extent};

/// Known features of `s_feature_incompat`, which change how a journal is read.
const KNOWN_INCOMPAT: u32 = incompat::REVOKE
    | incompat::BIT64
    | incompat::ASYNC_COMMIT
    | incompat::CSUM_V2
    | incompat::CSUM_V3
    | incompat::FAST_COMMIT;

/// Journal: a ring of blocks in an inode, and an area for fast commits after the ring.
#[derive(Debug)]
pub(crate) struct JournalLog {
    extents: Vec<Extent>,
    /// First block of the ring, as a number in the journal.
    first: u32,
    /// The block after the ring.
    end: u32,
    /// The block after the area for fast commits, which follows the ring.
    pub(super) fast_commit_end: u32,
    /// Sequence number of the first transaction to replay.
    pub(super) sequence: u32,
    /// First block of that transaction, or zero if there is nothing to replay.
    pub(crate) start: u32,
    /// Error that the kernel recorded, or zero.
    pub(crate) errno: u32,
    /// Number of file systems that share the journal.
    pub(crate) users: u32,
    compat: u32,
    incompat: u32,
    pub(super) seed: Seed,
}

/// Checksums of the blocks in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JournalChecksums {
    None,
    /// One checksum of all blocks of a transaction, in its commit block (`COMPAT_CHECKSUM`).
    Transactions,
    /// A checksum of each block: 32 bits for the journal's own blocks, 16 bits for copied blocks
    /// (`CSUM_V2`).
    V2,
    /// A checksum of 32 bits for each block (`CSUM_V3`).
    V3,
}

impl JournalLog {
    /// Reads the superblock of a journal. The journal lies in `extents` of an inode of `size`
    /// bytes.
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
        let at = reader.offset_of_block(log.image_block(0)?.get());
        read_at(&reader.input, at, superblock.as_mut_bytes())?;
        log.load_superblock(&superblock, reader.block_size, size)?;
        Ok(log)
    }

    /// Sets the fields from the superblock, and verifies its checksum.
    fn load_superblock(
        &mut self,
        superblock: &JournalSuperblock,
        block_size: usize,
        size: u64,
    ) -> Result<(), ReadError> {
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
        if self.incompat & !KNOWN_INCOMPAT != 0 || superblock.feature_ro_compat.get() != 0 && version == SUPERBLOCK_V2 {
            return Err(ReadError::Unsupported {
                features: format!("journal_{:#x}", self.incompat & !KNOWN_INCOMPAT),
            });
        }
        if self.has(incompat::CSUM_V2) && self.has(incompat::CSUM_V3) {
            return damaged("it has checksums of two versions");
        }
        if matches!(self.checksums(), JournalChecksums::V2 | JournalChecksums::V3) {
            let mut covered = superblock.as_bytes().to_vec();
            covered[std::mem::offset_of!(JournalSuperblock, checksum)..][..4].fill(0);
            let is_right = superblock.checksum_type == CHECKSUM_CRC32C
                && superblock.checksum.get() == Seed::NONE.crc(&covered).sum();
            verify_checksum(is_right, Structure::Journal)?;
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
            return damaged("its area for fast commits is too large");
        }
        self.end = end;
        if self.first == 0 || self.first >= end || self.start != 0 && !(self.first..end).contains(&self.start) {
            return damaged("its log begins outside of it");
        }
        Ok(())
    }

    fn has(&self, feature: u32) -> bool {
        self.incompat & feature != 0
    }

    /// Returns whether a commit block may reach the disk before the blocks of its transaction.
    pub(super) fn has_async_commit(&self) -> bool {
        self.has(incompat::ASYNC_COMMIT)
    }

    /// Returns the checksums that the features ask for.
    pub(super) fn checksums(&self) -> JournalChecksums {
        match self.compat & COMPAT_CHECKSUM {
            _ if self.has(incompat::CSUM_V3) => JournalChecksums::V3,
            _ if self.has(incompat::CSUM_V2) => JournalChecksums::V2,
            0 => JournalChecksums::None,
            _ => JournalChecksums::Transactions,
        }
    }

    /// Returns the form of tags.
    pub(super) fn tag_format(&self) -> TagFormat {
        TagFormat::new(self.incompat)
    }

    /// Returns the number of blocks of the ring.
    pub(super) fn len(&self) -> u32 {
        self.end - self.first
    }

    /// Returns the first block in the area for fast commits, if there is one. The block before it,
    /// which follows the ring, is not used (`j_fc_first`).
    pub(super) fn first_fast_commit_block(&self) -> Option<u32> {
        let first = self.end + 1;
        (first < self.fast_commit_end).then_some(first)
    }

    /// Returns the block that follows `block` in the ring.
    pub(super) fn next_block(&self, block: u32) -> u32 {
        if block + 1 < self.end { block + 1 } else { self.first }
    }

    /// Returns the block of the image that holds a block of the journal.
    pub(super) fn image_block(&self, block: u32) -> Result<BlockNr, ReadError> {
        let after = self.extents.partition_point(|extent| extent.logical <= block);
        let extent = after.checked_sub(1).map(|index| self.extents[index]);
        let extent = extent.filter(|extent| block - extent.logical < extent.count);
        let extent = extent.ok_or(ReadError::Journal {
            what: "its inode has a hole",
        })?;
        Ok(extent.start + u64::from(block - extent.logical))
    }

    /// Reads a block of the journal.
    pub(super) fn read_block<R: ReadAt>(&self, reader: &Reader<R>, block: u32) -> Result<Vec<u8>, ReadError> {
        let at = reader.offset_of_block(self.image_block(block)?.get());
        let mut bytes = vec![0; reader.block_size];
        read_at(&reader.input, at, &mut bytes)?;
        Ok(bytes)
    }
}
