//! [`check()`]: finds what is wrong with an image, without e2fsprogs.
//!
//! It has the passes of e2fsck: after the superblock, the journal and the groups come the inodes
//! (pass 1), the entries of directories (2), the connections of directories (3), the counts of
//! links (4), and the bitmaps and counts of blocks and inodes (5).
//!
//! A fault does not end the check, unless the rest has no meaning without it, or would cost time
//! out of proportion to the image. A finding says so then, and what was not checked is not said to
//! be missing. Memory is that of the ranges of blocks in use or of a bit for each block, of some
//! bytes for each inode in use, and of one directory.

mod bitmaps;
mod claimed_blocks;
mod directories;
mod entries;
mod extents;
mod findings;
mod groups;
mod index;
mod inodes;
mod journal;
mod links;
mod orphans;
mod problem;
mod quota;
mod resize;
mod superblock;
mod used_inodes;
mod value_inodes;
mod xattrs;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

pub use claimed_blocks::BlockRole;
pub use findings::{CheckReport, Finding};
pub use problem::{BitmapUnit, InodeFeature, Problem, QuotaProblem, Severity, StopReason};

use crate::read::{ReadError, Reader, Structure};
use crate::read_at::ReadAt;
use claimed_blocks::ClaimedBlocks;
use findings::Findings;
use groups::Group;
use links::Parents;
use used_inodes::UsedInodes;

/// Most blocks of zeros among those that should hold something. A few bytes lead to each, and an
/// image of holes has any number of them.
const MAX_ZERO_BLOCKS: u32 = 1000;

/// Checks an image: a file, a device, or memory. What a journal holds that was not replayed counts
/// as if it had been.
///
/// ```
/// # use ext4::{Formatter, Options, Severity, StructureKind, Tree};
/// # use std::collections::BTreeMap;
/// # use std::io::Cursor;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let formatter = Formatter::new(Vec::new(), Options::new([7; 16]))?;
/// # let (mut image, _) = formatter.finish(Tree::default())?;
/// // One free block fewer in the superblock.
/// image[1024 + 0xC] -= 1;
/// let report = ext4::check(Cursor::new(image))?;
/// let mut kinds: BTreeMap<StructureKind, u32> = BTreeMap::new();
/// for finding in &report.findings {
///     *kinds.entry(finding.structure.kind()).or_default() += 1;
/// }
/// assert_eq!(kinds[&StructureKind::Superblock], 2);
/// let findings = report.findings.iter();
/// let mut warnings = findings.filter(|finding| finding.severity() == Severity::Warning);
/// assert_eq!(warnings.next().map(|finding| finding.problem.code()), Some("free-blocks-wrong"));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`ReadError::NotExt4`], [`ReadError::Unsupported`] for features that this crate does not know,
/// [`ReadError::FastCommits`] if those were not replayed, and [`ReadError::Input`] if the image
/// does not give its bytes. All that is wrong with a file system is a [`Finding`] instead.
pub fn check<R: ReadAt>(input: R) -> Result<CheckReport, ReadError> {
    let len = input.size().map_err(|source| ReadError::Input { offset: 0, source })?;
    let mut reader = Reader::new(input);
    let superblock = reader.read_superblock()?;
    let mut findings = Findings::default();
    if !superblock::load_superblock(&mut reader, superblock, &mut findings)?
        || !superblock::check_superblock(&reader, len, &mut findings)?
    {
        return Ok(findings.into_report());
    }
    let mut checker = Checker::new(reader, len, findings);
    checker.run()?;
    Ok(checker.findings.into_report())
}

/// A check under way.
struct Checker<R> {
    reader: Reader<R>,
    findings: Findings,
    /// Blocks of the file system that the image has.
    block_count: u64,
    group_count: u32,
    groups: Vec<Group>,
    /// Blocks in use.
    claimed: ClaimedBlocks,
    /// Blocks of directories whose entries were read: damaged directories may share them, or lead
    /// to one many times.
    visited: ClaimedBlocks,
    inodes: UsedInodes,
    parents: Parents,
    /// Inodes that are said to be orphans.
    orphans: BTreeSet<u32>,
    /// Blocks of attributes, by number.
    xattr_blocks: BTreeMap<u64, xattrs::XattrBlockUse>,
    /// Inodes that hold values of attributes, by number.
    value_inodes: BTreeMap<u32, value_inodes::ValueInodeUse>,
    /// Blocks that should hold something, and are zeros.
    zero_blocks: u32,
}

impl<R: ReadAt> Checker<R> {
    fn new(reader: Reader<R>, len: u64, findings: Findings) -> Self {
        let block_count = reader.block_count().min(len / reader.block_size() as u64);
        let group_count = reader.superblock().group_count(block_count);
        let inodes = UsedInodes::new(reader.superblock().inodes_per_group.get());
        Self {
            reader,
            findings,
            block_count,
            group_count,
            groups: Vec::new(),
            claimed: ClaimedBlocks::new(block_count),
            visited: ClaimedBlocks::new(block_count),
            inodes,
            parents: Parents::default(),
            orphans: BTreeSet::new(),
            xattr_blocks: BTreeMap::new(),
            value_inodes: BTreeMap::new(),
            zero_blocks: 0,
        }
    }

    /// Checks everything but the superblock.
    fn run(&mut self) -> Result<(), ReadError> {
        self.check_journal()?;
        if !self.check_groups()? {
            return Ok(());
        }
        self.check_backups()?;
        self.check_journal_backup()?;
        self.collect_orphans()?;
        // Pass 1: inodes, their blocks and attributes.
        self.check_inodes()?;
        self.check_named_inodes();
        self.check_orphans();
        self.check_xattr_block_references();
        self.check_value_inodes()?;
        self.check_quotas()?;
        // Pass 2: entries and indexes of directories.
        self.check_directories()?;
        if self.findings.is_stopped() {
            return Ok(());
        }
        // Pass 3: each directory has one parent, and is below the root.
        self.check_connections();
        // Pass 4: each inode has as many links as it says.
        self.check_link_counts()?;
        // Pass 5: the bitmaps and counts are those of the blocks and inodes in use.
        self.check_bitmaps()
    }

    fn report(&mut self, structure: Structure, problem: Problem) {
        self.findings.add(structure, problem);
    }

    /// Adds a finding unless something holds.
    fn require(&mut self, holds: bool, structure: Structure, problem: Problem) {
        self.findings.require(holds, structure, problem);
    }

    /// Reads a block; one that the image does not have is a finding.
    fn read_block(&mut self, structure: Structure, block: u64) -> Result<Option<Vec<u8>>, ReadError> {
        if block == 0 || block >= self.block_count {
            self.report(structure, Problem::BlockOutside { block });
            return Ok(None);
        }
        let mut bytes = vec![0; self.reader.block_size()];
        let offset = self.reader.offset_of_block(block);
        self.reader.read_at(offset, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// Reads a block that should not be zeros. Too many that are end the check: they take time to
    /// read, and no bytes of the image stand for that.
    fn read_nonzero_block(&mut self, structure: Structure, block: u64) -> Result<Option<Vec<u8>>, ReadError> {
        if self.findings.is_stopped() {
            return Ok(None);
        }
        let bytes = self.read_block(structure, block)?;
        self.zero_blocks += u32::from(bytes.as_deref().is_some_and(is_zeros));
        if self.zero_blocks > MAX_ZERO_BLOCKS {
            self.findings.stop(StopReason::ZeroBlocks);
        }
        Ok(bytes)
    }
}

fn is_zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// Makes a finding of what a reader refuses; an image that does not give its bytes stays an error.
fn report_unreadable<T>(
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
