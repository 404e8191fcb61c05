//! The transactions of a journal, one after the other, up to the first that is not complete.

use std::collections::BTreeMap;
use zerocopy::FromBytes;

use super::super::sums::expect;
use super::super::{ReadError, Reader, Structure};
use super::log::{Log, LogSums};
use super::{Logged, LoggedBlock};
use crate::disk::journal::{
    BlockHeader, CommitHeader, FAST_COMMIT_HEAD, FastCommitHead, MAGIC, RevokeHeader, block_type, tag_flag,
};
use crate::read_at::ReadAt;

/// Most blocks, and most revoked blocks, that a journal may hold: a journal of 1 GiB, the largest that mke2fs makes by itself,
/// has as many at 1 KiB each.
const MAX_BLOCKS: usize = 1 << 20;

/// A copy of a block in the journal.
#[derive(Clone, Copy)]
struct Copy {
    /// Block of the journal.
    block: u32,
    /// Position of its transaction, from 0.
    transaction: u32,
    is_escaped: bool,
    checksum: u32,
}

/// What a transaction holds, as far as it was read.
#[derive(Default)]
struct Transaction {
    copies: Vec<(u64, Copy)>,
    revoked: Vec<u64>,
    /// One of its blocks has a wrong checksum.
    is_damaged: bool,
    /// The sum over all of its blocks so far (`COMPAT_CHECKSUM`).
    sum: Crc32,
}

/// Goes through the journal, and says where the blocks are that it holds.
pub(super) fn replay<R: ReadAt>(reader: &Reader<R>, log: &Log) -> Result<Logged, ReadError> {
    let mut replay = Replay {
        reader,
        log,
        copies: BTreeMap::new(),
        revoked: BTreeMap::new(),
        last_commit: 0,
        left: log.len(),
        transactions: 0,
    };
    if log.start != 0 {
        replay.run()?;
        replay.check_fast_commits()?;
    }
    replay.finish()
}

struct Replay<'a, R> {
    reader: &'a Reader<R>,
    log: &'a Log,
    /// By block of the file system, the copy of the last transaction.
    copies: BTreeMap<u64, Copy>,
    /// The last transaction that says of a block that older copies mean nothing.
    revoked: BTreeMap<u64, u32>,
    /// When the last complete transaction was written, in seconds since 1970.
    last_commit: u64,
    /// Blocks of the ring that were not looked at.
    left: u32,
    /// Complete transactions.
    transactions: u32,
}

impl<R: ReadAt> Replay<'_, R> {
    fn run(&mut self) -> Result<(), ReadError> {
        let mut at = self.log.start;
        let mut transaction = Transaction::default();
        while self.left > 0 {
            let bytes = self.take(&mut at)?;
            let (header, _) = BlockHeader::ref_from_prefix(&bytes).map_err(|_| damaged())?;
            let sequence = self.log.sequence.wrapping_add(self.transactions);
            if header.magic.get() != MAGIC || header.sequence.get() != sequence {
                return Ok(());
            }
            match header.blocktype.get() {
                block_type::DESCRIPTOR => {
                    transaction.is_damaged |= !self.has_right_tail(&bytes);
                    transaction.sum.add(&bytes);
                    self.descriptor(&bytes, &mut at, &mut transaction)?;
                }
                block_type::REVOKE => {
                    transaction.is_damaged |= !self.has_right_tail(&bytes);
                    self.revoke(&bytes, &mut transaction)?;
                }
                block_type::COMMIT => {
                    if !self.commit(&bytes, &transaction)? {
                        return Ok(());
                    }
                    self.complete(std::mem::take(&mut transaction))?;
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Reads the next block of the ring.
    fn take(&mut self, at: &mut u32) -> Result<Vec<u8>, ReadError> {
        let bytes = self.log.read(self.reader, *at)?;
        self.skip(at)?;
        Ok(bytes)
    }

    fn skip(&mut self, at: &mut u32) -> Result<(), ReadError> {
        self.left = self.left.checked_sub(1).ok_or(ReadError::Journal {
            what: "a transaction is longer than it",
        })?;
        *at = self.log.next(*at);
        Ok(())
    }

    fn has_right_tail(&self, bytes: &[u8]) -> bool {
        let (covered, tail) = bytes.split_at(bytes.len() - self.log.tags().tail_len());
        tail.is_empty() || tail == self.log.seed.crc(covered).crc(&[0; 4]).sum().to_be_bytes()
    }

    /// A block of tags: each stands for one of the blocks that follow it in the ring.
    fn descriptor(&mut self, bytes: &[u8], at: &mut u32, transaction: &mut Transaction) -> Result<(), ReadError> {
        let tags = self.log.tags();
        let mut rest = &bytes[size_of::<BlockHeader>()..bytes.len() - tags.tail_len()];
        while let Some(tag) = tags.decode(rest) {
            if transaction.copies.len() >= MAX_BLOCKS {
                return Err(too_much());
            }
            let copy = Copy {
                block: *at,
                transaction: self.transactions,
                is_escaped: tag.flags & tag_flag::ESCAPE != 0,
                checksum: tag.checksum,
            };
            transaction.copies.push((tag.block, copy));
            if self.log.sums() == LogSums::Transactions {
                let content = self.take(at)?;
                transaction.sum.add(&content);
            } else {
                self.skip(at)?;
            }
            if tag.flags & tag_flag::LAST != 0 {
                break;
            }
            rest = rest.get(tags.len() + tag.uuid_len()..).unwrap_or_default();
        }
        Ok(())
    }

    fn revoke(&mut self, bytes: &[u8], transaction: &mut Transaction) -> Result<(), ReadError> {
        const START: usize = size_of::<RevokeHeader>();
        let (header, _) = RevokeHeader::ref_from_prefix(bytes).map_err(|_| damaged())?;
        let end = usize::try_from(header.count.get()).unwrap_or(usize::MAX).max(START);
        // Linux counts them before it knows whether the transaction is complete, and refuses to
        // mount.
        let records = bytes[..bytes.len() - self.log.tags().tail_len()].get(START..end);
        let records = records.ok_or(ReadError::Journal {
            what: "a block of revoked blocks holds more than it has room for",
        })?;
        for record in records.chunks_exact(self.log.tags().revoked_len()) {
            if transaction.revoked.len() >= MAX_BLOCKS {
                return Err(too_much());
            }
            let number = record.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
            transaction.revoked.push(number);
        }
        Ok(())
    }

    /// Whether a block ends the transaction. If not, that and all that follows is as good as not there.
    fn commit(&mut self, bytes: &[u8], transaction: &Transaction) -> Result<bool, ReadError> {
        let (commit, _) = CommitHeader::ref_from_prefix(bytes).map_err(|_| damaged())?;
        let time = commit.commit_sec.get();
        let is_right = match self.log.sums() {
            LogSums::None => true,
            LogSums::Transactions => {
                let found = (commit.checksum_type, commit.checksum_size, commit.checksum[0].get());
                found == (1, 4, transaction.sum.0) || found == (0, 0, 0)
            }
            LogSums::V2 | LogSums::V3 => {
                let (before, rest) = bytes.split_at(std::mem::offset_of!(CommitHeader, checksum));
                let sum = self.log.seed.crc(before).crc(&[0; 4]).crc(&rest[4..]).sum();
                commit.checksum[0].get() == sum
            }
        };
        if is_right && !transaction.is_damaged {
            self.last_commit = time;
            return Ok(true);
        }
        // What is older than the last transaction is left from before: the ring was not cleared.
        if time < self.last_commit || !transaction.is_damaged && self.log.commits_early() {
            return Ok(false);
        }
        Err(ReadError::Journal {
            what: "a transaction has a wrong checksum",
        })
    }

    fn complete(&mut self, transaction: Transaction) -> Result<(), ReadError> {
        self.copies.extend(transaction.copies);
        let index = self.transactions;
        self.revoked
            .extend(transaction.revoked.into_iter().map(|block| (block, index)));
        self.transactions += 1;
        if self.copies.len().max(self.revoked.len()) > MAX_BLOCKS {
            return Err(too_much());
        }
        Ok(())
    }

    /// Refuses fast commits that follow the last complete transaction. Those of another transaction
    /// are left from before (`ext4_fc_replay_scan`).
    fn check_fast_commits(&mut self) -> Result<(), ReadError> {
        let Some(first) = self.log.fast_commits() else {
            return Ok(());
        };
        let bytes = self.log.read(self.reader, first)?;
        let (head, _) = FastCommitHead::ref_from_prefix(&bytes).map_err(|_| damaged())?;
        let sequence = self.log.sequence.wrapping_add(self.transactions);
        if head.tag.get() == FAST_COMMIT_HEAD && head.transaction.get() == sequence {
            return Err(ReadError::FastCommits);
        }
        Ok(())
    }

    /// Leaves out what was revoked, and verifies the checksums of what is left.
    fn finish(self) -> Result<Logged, ReadError> {
        let Self {
            reader,
            log,
            mut copies,
            revoked,
            ..
        } = self;
        copies.retain(|block, copy| revoked.get(block).is_none_or(|&last| copy.transaction > last));
        let mut logged = Logged::new();
        for (block, copy) in copies {
            let sums = log.sums();
            if matches!(sums, LogSums::V2 | LogSums::V3) {
                let bytes = log.read(reader, copy.block)?;
                let sequence = log.sequence.wrapping_add(copy.transaction);
                let sum = log.seed.crc(&sequence.to_be_bytes()).crc(&bytes);
                let is_right = match sums {
                    LogSums::V2 => copy.checksum == u32::from(sum.low16()),
                    _ => copy.checksum == sum.sum(),
                };
                expect(is_right, Structure::JournalBlock { block: copy.block })?;
            }
            let is_escaped = copy.is_escaped;
            let at = log.block(copy.block)?;
            logged.insert(block, LoggedBlock { at, is_escaped });
        }
        Ok(logged)
    }
}

fn damaged() -> ReadError {
    ReadError::Journal {
        what: "a block is too short for it",
    }
}

fn too_much() -> ReadError {
    ReadError::Journal {
        what: "it holds more than a journal can",
    }
}

/// A CRC-32 with its highest bit first and without inversion (`crc32_be`).
struct Crc32(u32);

impl Default for Crc32 {
    fn default() -> Self {
        Self(!0)
    }
}

impl Crc32 {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0 << 8 ^ TABLE[usize::from(self.0.to_be_bytes()[0] ^ byte)];
        }
    }
}

const TABLE: [u32; 256] = {
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
