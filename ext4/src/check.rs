//! [`check()`]: whether an image is what a file system has to be, without e2fsprogs.
//!
//! It goes as e2fsck does: the superblock, the journal, the groups, then all inodes (pass 1), the names in directories (2),
//! which of these hang together (3), how many names each inode has (4), and what the bitmaps and counts say of it all (5).
//! What is wrong ends nothing, unless the rest has no meaning without it, or costs time that no bytes of the image
//! stand for. Then a finding says so, and what was not looked at is not said to be missing. It holds the runs of blocks
//! in use, or a bit for each, some bytes for each inode in use, and what belongs to one directory.

mod attributes;
mod bitmaps;
mod directories;
mod entries;
mod extents;
mod findings;
mod groups;
mod index;
mod inode_facts;
mod inodes;
mod journal;
mod names;
mod orphans;
mod ownership;
mod problem;
mod quota;
mod resize;
mod superblock;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

pub use bitmaps::BitmapUnit;
pub use findings::{Finding, Report, Severity, StopReason};
pub use inodes::InodeFeature;
pub use ownership::BlockRole;
pub use problem::Problem;
pub use quota::QuotaProblem;

use crate::read::{ReadError, Reader, Structure};
use crate::read_at::ReadAt;
use findings::Findings;
use groups::Group;
use inode_facts::InodeFacts;
use names::Names;
use ownership::Ownership;

/// Most blocks of zeros that may be where something leads to for the rest to be looked at. A few bytes lead to each,
/// and an image of holes has any number of them.
const MAX_ZEROS: u32 = 1000;

/// Checks an image: a file, a device, or memory. What a journal holds that was not replayed counts as if it had been.
///
/// # Errors
///
/// [`ReadError::NotExt4`], [`ReadError::Unsupported`] for features that this crate does not know,
/// [`ReadError::FastCommits`] if those were not replayed, and [`ReadError::Input`] if the image
/// does not give its bytes. All that is wrong with a file system is a [`Finding`] instead.
pub fn check<R: ReadAt>(input: R) -> Result<Report, ReadError> {
    let len = input.size().map_err(|source| ReadError::Input { offset: 0, source })?;
    let mut reader = Reader::new(input);
    let superblock = reader.read_superblock()?;
    let mut findings = Findings::default();
    if !superblock::take(&mut reader, superblock, &mut findings)? || !superblock::check(&reader, len, &mut findings)? {
        return Ok(findings.into_report());
    }
    let mut check = Check::new(reader, len, findings);
    check.journal()?;
    if !check.groups()? {
        return Ok(check.findings.into_report());
    }
    check.backups()?;
    check.journal_backup()?;
    check.orphans()?;
    check.inodes()?;
    check.named_inodes();
    check.orphans_in_use();
    check.xattr_blocks_in_use();
    check.holders_in_use()?;
    check.quotas()?;
    check.directories()?;
    if !check.findings.is_over() {
        check.names()?;
        check.bitmaps()?;
    }
    Ok(check.findings.into_report())
}

/// A check that is under way.
struct Check<R> {
    reader: Reader<R>,
    findings: Findings,
    /// Blocks of the file system that the image has.
    block_count: u64,
    group_count: u32,
    groups: Vec<Group>,
    blocks: Ownership,
    /// Blocks of directories that were looked at for what is in them: damaged ones may share them, and lead to one many times.
    walked: Ownership,
    inodes: InodeFacts,
    names: Names,
    /// Inodes that are said to be orphans.
    orphans: BTreeSet<u32>,
    /// Blocks of attributes: how often they say that they are used, and how often they are.
    xattr_blocks: BTreeMap<u64, attributes::Sharing>,
    /// Inodes that hold values.
    value_inodes: BTreeMap<u32, values::Holding>,
    /// Blocks of zeros that something led to.
    zeros: u32,
}

impl<R: ReadAt> Check<R> {
    fn new(reader: Reader<R>, len: u64, findings: Findings) -> Self {
        let block_count = reader.block_count().min(len / reader.block_size() as u64);
        let group_count = reader.superblock().group_count(block_count);
        let inodes = InodeFacts::new(reader.superblock().inodes_per_group.get());
        Self {
            reader,
            findings,
            block_count,
            group_count,
            groups: Vec::new(),
            blocks: Ownership::new(block_count),
            walked: Ownership::new(block_count),
            inodes,
            names: Names::default(),
            orphans: BTreeSet::new(),
            xattr_blocks: BTreeMap::new(),
            value_inodes: BTreeMap::new(),
            zeros: 0,
        }
    }

    fn find(&mut self, structure: Structure, problem: Problem) {
        self.findings.add(structure, problem);
    }

    /// Adds a finding unless something holds.
    fn expect(&mut self, holds: bool, structure: Structure, problem: Problem) {
        self.findings.expect(holds, structure, problem);
    }

    /// Reads a block; one that the image does not have is a finding.
    fn block(&mut self, structure: Structure, block: u64) -> Result<Option<Vec<u8>>, ReadError> {
        if block == 0 || block >= self.block_count {
            self.find(structure, Problem::BlockOutside { block });
            return Ok(None);
        }
        let mut bytes = vec![0; self.reader.block_size()];
        let offset = self.reader.offset_of_block(block);
        self.reader.read_at(offset, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// Reads a block that should not be zeros. Too many that are end the check: it takes time to read them, and no
    /// bytes of the image stand for that.
    fn filled_block(&mut self, structure: Structure, block: u64) -> Result<Option<Vec<u8>>, ReadError> {
        if self.findings.is_over() {
            return Ok(None);
        }
        let bytes = self.block(structure, block)?;
        self.zeros += u32::from(bytes.as_deref().is_some_and(is_zeros));
        if self.zeros > MAX_ZEROS {
            self.findings.stop(StopReason::ZeroBlocks);
        }
        Ok(bytes)
    }
}

fn is_zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// Makes a finding of what a reader refuses; an image that does not give its bytes stays an error.
fn found<T>(
    result: Result<T, ReadError>,
    structure: Structure,
    findings: &mut Findings,
) -> Result<Option<T>, ReadError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ReadError::Input { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof => {
            findings.add(structure, Problem::ImageEndsEarly);
            Ok(None)
        }
        Err(error @ ReadError::Input { .. }) => Err(error),
        Err(ReadError::Checksum { structure }) => {
            findings.add(structure, Problem::ChecksumWrong);
            Ok(None)
        }
        Err(error) => {
            findings.add(structure, Problem::unreadable(error));
            Ok(None)
        }
    }
}
