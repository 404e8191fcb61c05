//! Replays a journal into an overlay: reads its transactions in order, up to the first incomplete
//! one.

use std::collections::BTreeMap;
use zerocopy::FromBytes;

use super::super::checksums::verify_checksum;
use super::super::{ReadError, Reader, Structure};
use super::log::{JournalChecksums, JournalLog};
use super::{JournalOverlay, OverlayBlock};
use crate::disk::journal::{
    BlockHeader, CommitHeader, FAST_COMMIT_HEAD, FastCommitHead, MAGIC, RevokeHeader, block_type, tag_flag,
};
use crate::read_at::ReadAt;

/// Maximum number of blocks, and of revoked blocks, in a journal. A journal of 1 GiB, the largest
/// that mke2fs makes by default, has as many blocks of 1 KiB.
const MAX_BLOCKS: usize = 1 << 20;

/// Copy, in the journal, of a block of the file system.
#[derive(Clone, Copy)]
struct BlockCopy {
    /// Number of the copy's block in the journal.
    block: u32,
    /// Position of its transaction, from 0.
    transaction: u32,
    escaped: bool,
    checksum: u32,
}

/// Content of a transaction, up to the blocks that were read.
#[derive(Default)]
struct Transaction {
    copies: Vec<(u64, BlockCopy)>,
    revoked: Vec<u64>,
    /// The checksum of one of its blocks is wrong.
    damaged: bool,
    /// Checksum of all of its blocks so far (`COMPAT_CHECKSUM`).
    checksum: Crc32Be,
}

/// Reads all complete transactions of the journal, and returns the blocks to read from it.
pub(super) fn replay<R: ReadAt>(reader: &Reader<R>, log: &JournalLog) -> Result<JournalOverlay, ReadError> {
    let mut replay = Replay {
        reader,
        log,
        copies: BTreeMap::new(),
        revoked: BTreeMap::new(),
        last_commit: 0,
        blocks_left: log.len(),
        transactions: 0,
    };
    if log.start != 0 {
        replay.scan()?;
        replay.check_fast_commits()?;
    }
    replay.into_overlay()
}

struct Replay<'a, R> {
    reader: &'a Reader<R>,
    log: &'a JournalLog,
    /// Newest copy of each block, by its number in the file system.
    copies: BTreeMap<u64, BlockCopy>,
    /// Position of the last transaction that revokes each block: older copies are ignored.
    revoked: BTreeMap<u64, u32>,
    /// Commit time of the last complete transaction, in seconds since 1970.
    last_commit: u64,
    /// Number of blocks of the ring that were not read.
    blocks_left: u32,
    /// Number of complete transactions.
    transactions: u32,
}

impl<R: ReadAt> Replay<'_, R> {
    fn scan(&mut self) -> Result<(), ReadError> {
        let mut at = self.log.start;
        let mut transaction = Transaction::default();
        while self.blocks_left > 0 {
            let bytes = self.read_next(&mut at)?;
            let (header, _) = BlockHeader::ref_from_prefix(&bytes).map_err(|_| block_too_short())?;
            let sequence = self.log.sequence.wrapping_add(self.transactions);
            if header.magic.get() != MAGIC || header.sequence.get() != sequence {
                return Ok(());
            }
            match header.blocktype.get() {
                block_type::DESCRIPTOR => {
                    transaction.damaged |= !self.tail_checksum_ok(&bytes);
                    transaction.checksum.update(&bytes);
                    self.read_descriptor(&bytes, &mut at, &mut transaction)?;
                }
                block_type::REVOKE => {
                    transaction.damaged |= !self.tail_checksum_ok(&bytes);
                    self.read_revoke_block(&bytes, &mut transaction)?;
                }
                block_type::COMMIT => {
                    if !self.check_commit(&bytes, &transaction)? {
                        return Ok(());
                    }
                    self.add_transaction(std::mem::take(&mut transaction))?;
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Reads the block `at` of the ring, and advances to the next.
    fn read_next(&mut self, at: &mut u32) -> Result<Vec<u8>, ReadError> {
        let bytes = self.log.read_block(self.reader, *at)?;
        self.advance(at)?;
        Ok(bytes)
    }

    fn advance(&mut self, at: &mut u32) -> Result<(), ReadError> {
        self.blocks_left = self.blocks_left.checked_sub(1).ok_or(ReadError::Journal {
            what: "a transaction is longer than the journal",
        })?;
        *at = self.log.next_block(*at);
        Ok(())
    }

    fn tail_checksum_ok(&self, bytes: &[u8]) -> bool {
        let (covered, tail) = bytes.split_at(bytes.len() - self.log.tag_format().tail_len());
        tail.is_empty() || tail == self.log.seed.crc(covered).crc(&[0; 4]).sum().to_be_bytes()
    }

    /// Reads a descriptor block: each of its tags describes one of the blocks that follow in the
    /// ring.
    fn read_descriptor(&mut self, bytes: &[u8], at: &mut u32, transaction: &mut Transaction) -> Result<(), ReadError> {
        let format = self.log.tag_format();
        let mut rest = &bytes[size_of::<BlockHeader>()..bytes.len() - format.tail_len()];
        while let Some(tag) = format.decode(rest) {
            if transaction.copies.len() >= MAX_BLOCKS {
                return Err(too_many_blocks());
            }
            let copy = BlockCopy {
                block: *at,
                transaction: self.transactions,
                escaped: tag.flags & tag_flag::ESCAPE != 0,
                checksum: tag.checksum,
            };
            transaction.copies.push((tag.block, copy));
            if self.log.checksums() == JournalChecksums::Transactions {
                let content = self.read_next(at)?;
                transaction.checksum.update(&content);
            } else {
                self.advance(at)?;
            }
            if tag.flags & tag_flag::LAST != 0 {
                break;
            }
            rest = rest.get(format.len() + tag.uuid_len()..).unwrap_or_default();
        }
        Ok(())
    }

    fn read_revoke_block(&mut self, bytes: &[u8], transaction: &mut Transaction) -> Result<(), ReadError> {
        const START: usize = size_of::<RevokeHeader>();
        let (header, _) = RevokeHeader::ref_from_prefix(bytes).map_err(|_| block_too_short())?;
        let end = usize::try_from(header.count.get()).unwrap_or(usize::MAX).max(START);
        // Linux checks the count before it knows whether the transaction is complete, and refuses
        // to mount the file system.
        let records = bytes[..bytes.len() - self.log.tag_format().tail_len()].get(START..end);
        let records = records.ok_or(ReadError::Journal {
            what: "a revoke block has a count beyond its end",
        })?;
        for record in records.chunks_exact(self.log.tag_format().revoked_len()) {
            if transaction.revoked.len() >= MAX_BLOCKS {
                return Err(too_many_blocks());
            }
            let number = record.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
            transaction.revoked.push(number);
        }
        Ok(())
    }

    /// Returns whether a commit block completes the transaction. If it does not, the log ends
    /// before this transaction.
    fn check_commit(&mut self, bytes: &[u8], transaction: &Transaction) -> Result<bool, ReadError> {
        let (commit, _) = CommitHeader::ref_from_prefix(bytes).map_err(|_| block_too_short())?;
        let time = commit.commit_sec.get();
        let is_right = match self.log.checksums() {
            JournalChecksums::None => true,
            JournalChecksums::Transactions => {
                let found = (commit.checksum_type, commit.checksum_size, commit.checksum[0].get());
                found == (1, 4, transaction.checksum.0) || found == (0, 0, 0)
            }
            JournalChecksums::V2 | JournalChecksums::V3 => {
                let (before, rest) = bytes.split_at(std::mem::offset_of!(CommitHeader, checksum));
                let expected = self.log.seed.crc(before).crc(&[0; 4]).crc(&rest[4..]).sum();
                commit.checksum[0].get() == expected
            }
        };
        if is_right && !transaction.damaged {
            self.last_commit = time;
            return Ok(true);
        }
        // An older commit block is left from a previous use of the ring, which is never cleared.
        // With asynchronous commits, the commit block may have reached the disk before its
        // transaction.
        if time < self.last_commit || !transaction.damaged && self.log.has_async_commit() {
            return Ok(false);
        }
        Err(ReadError::Journal {
            what: "a transaction has a wrong checksum",
        })
    }

    fn add_transaction(&mut self, transaction: Transaction) -> Result<(), ReadError> {
        self.copies.extend(transaction.copies);
        let index = self.transactions;
        self.revoked
            .extend(transaction.revoked.into_iter().map(|block| (block, index)));
        self.transactions += 1;
        if self.copies.len().max(self.revoked.len()) > MAX_BLOCKS {
            return Err(too_many_blocks());
        }
        Ok(())
    }

    /// Returns an error if fast commits follow the last complete transaction. Those of another
    /// transaction are left from a previous use of the area (`ext4_fc_replay_scan`).
    fn check_fast_commits(&mut self) -> Result<(), ReadError> {
        let Some(first) = self.log.first_fast_commit_block() else {
            return Ok(());
        };
        let bytes = self.log.read_block(self.reader, first)?;
        let (head, _) = FastCommitHead::ref_from_prefix(&bytes).map_err(|_| block_too_short())?;
        let sequence = self.log.sequence.wrapping_add(self.transactions);
        if head.tag.get() == FAST_COMMIT_HEAD && head.transaction.get() == sequence {
            return Err(ReadError::FastCommits);
        }
        Ok(())
    }

    /// Removes revoked blocks, verifies the checksums of the others, and returns them as an
    /// overlay.
    fn into_overlay(self) -> Result<JournalOverlay, ReadError> {
        let Self {
            reader,
            log,
            mut copies,
            revoked,
            ..
        } = self;
        copies.retain(|block, copy| revoked.get(block).is_none_or(|&last| copy.transaction > last));
        let mut overlay = JournalOverlay::new();
        for (block, copy) in copies {
            let mode = log.checksums();
            if matches!(mode, JournalChecksums::V2 | JournalChecksums::V3) {
                let bytes = log.read_block(reader, copy.block)?;
                let sequence = log.sequence.wrapping_add(copy.transaction);
                let sum = log.seed.crc(&sequence.to_be_bytes()).crc(&bytes);
                let is_right = match mode {
                    JournalChecksums::V2 => copy.checksum == u32::from(sum.low16()),
                    _ => copy.checksum == sum.sum(),
                };
                verify_checksum(is_right, Structure::JournalBlock { block: copy.block })?;
            }
            let escaped = copy.escaped;
            let image_block = log.image_block(copy.block)?;
            overlay.insert(
                block,
                OverlayBlock {
                    block: image_block,
                    escaped,
                },
            );
        }
        Ok(overlay)
    }
}

fn block_too_short() -> ReadError {
    ReadError::Journal {
        what: "its blocks are too short",
    }
}

fn too_many_blocks() -> ReadError {
    ReadError::Journal {
        what: "it has too many blocks or revoked blocks",
    }
}

/// CRC-32 with the highest bit first, without inversion (`crc32_be`).
struct Crc32Be(u32);

impl Default for Crc32Be {
    fn default() -> Self {
        Self(!0)
    }
}

impl Crc32Be {
    fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0 << 8 ^ CRC_TABLE[usize::from(self.0.to_be_bytes()[0] ^ byte)];
        }
    }
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index: u32 = 0;
    while index < 256 {
        let mut sum = index << 24;
        let mut bit = 0;
        while bit < 8 {
            sum = sum << 1 ^ if sum >> 31 == 1 { 0x04C1_1DB7 } else { 0 };
            bit += 1;
        }
        table[index as usize] = sum;
        index += 1;
    }
    table
};
