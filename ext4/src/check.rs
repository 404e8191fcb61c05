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

pub use findings::{CheckReport, Finding};
pub use ownership::BlockRole;
pub use problem::{BitmapUnit, InodeFeature, Problem, QuotaProblem, Severity, StopReason};

use crate::read::{ReadError, Reader, Structure};
use crate::read_at::ReadAt;
use findings::Findings;
use groups::Group;
use inode_facts::InodeFacts;
use names::Names;
use ownership::Ownership;

/// Most blocks of zeros among those that should hold something. A few bytes lead to each, and an
/// image of holes has any number of them.
const MAX_ZEROS: u32 = 1000;

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
    if !superblock::take(&mut reader, superblock, &mut findings)? || !superblock::check(&reader, len, &mut findings)? {
        return Ok(findings.into_report());
    }
    let mut check = Check::new(reader, len, findings);
    check.run()?;
    Ok(check.findings.into_report())
}

/// A check under way.
struct Check<R> {
    reader: Reader<R>,
    findings: Findings,
    /// Blocks of the file system that the image has.
    block_count: u64,
    group_count: u32,
    groups: Vec<Group>,
    /// Blocks in use.
    blocks: Ownership,
    /// Blocks of directories whose entries were read: damaged directories may share them, or lead
    /// to one many times.
    walked: Ownership,
    inodes: InodeFacts,
    names: Names,
    /// Inodes that are said to be orphans.
    orphans: BTreeSet<u32>,
    /// Blocks of attributes, by number.
    xattr_blocks: BTreeMap<u64, attributes::Sharing>,
    /// Inodes that hold values of attributes, by number.
    value_inodes: BTreeMap<u32, values::Holding>,
    /// Blocks that should hold something, and are zeros.
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

    /// Checks everything but the superblock.
    fn run(&mut self) -> Result<(), ReadError> {
        self.journal()?;
        if !self.groups()? {
            return Ok(());
        }
        self.backups()?;
        self.journal_backup()?;
        self.orphans()?;
        // Pass 1: inodes, their blocks and attributes.
        self.inodes()?;
        self.named_inodes();
        self.orphans_in_use();
        self.xattr_blocks_in_use();
        self.holders_in_use()?;
        self.quotas()?;
        // Pass 2: entries and indexes of directories.
        self.directories()?;
        if self.findings.is_over() {
            return Ok(());
        }
        // Pass 3: each directory has one parent, and is below the root.
        self.connections();
        // Pass 4: each inode has as many links as it says.
        self.link_counts()?;
        // Pass 5: the bitmaps and counts are those of the blocks and inodes in use.
        self.bitmaps()
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

    /// Reads a block that should not be zeros. Too many that are end the check: they take time to
    /// read, and no bytes of the image stand for that.
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
