//! [`check()`]: finds the faults of an image, without e2fsprogs.
//!
//! The check has the passes of e2fsck. Its steps run in this order, and rely on those before them:
//!
//! 1. Superblock (`superblock.rs`). Uses the image alone. Loads the journal into the reader's
//!    overlay, so that all later reads see the image as after a replay. If sizes or counts of the
//!    superblock contradict each other, the check ends. Afterwards, groups have blocks and inodes,
//!    and all inode numbers fit in 32 bits.
//! 2. Journal (`journal.rs`). Relies on the overlay. Checks the journal's superblock.
//! 3. Groups (`groups.rs`). Fills `groups`, and claims in `claimed` all blocks that do not belong
//!    to an inode. A descriptor can mark parts of its group as never written only if it has a
//!    right checksum. Too many damaged descriptors end the check.
//! 4. Backups of the superblock, of the descriptors, and of the journal's block map. Relies on
//!    `groups`.
//! 5. Orphans (`orphans.rs`). Relies on `groups`. Fills `orphans`.
//! 6. Inodes (pass 1 of e2fsck: `inodes.rs`, `extents.rs`, `resize.rs`, `xattrs.rs`). Relies on
//!    `groups` and `orphans`. Fills `inodes`, `xattr_blocks` and `value_inodes`, and claims the
//!    blocks of inodes. Then checks what takes all inodes: those that the superblock names,
//!    orphans, shared blocks of attributes, value inodes, quota files.
//! 7. Directories (pass 2: `directories.rs`, `entries.rs`, `index.rs`). Relies on `inodes`, whose
//!    blocks are claimed: a fault of an extent tree is not reported again. Fills `parents`, and
//!    counts links in `inodes`.
//! 8. Connections of directories (pass 3: `links.rs`). Relies on `parents`. If
//!    `parents.incomplete` is set, this step and the next do not report missing entries.
//! 9. Link counts (pass 4: `links.rs`). Relies on `inodes`, `parents` and `value_inodes`.
//! 10. Bitmaps and counts (pass 5: `bitmaps.rs`). Relies on `claimed` and `inodes`.
//!
//! A fault ends the check only if the rest has no meaning without the faulty structure, or if
//! checking the rest would take time out of proportion to the image. A finding reports that, and
//! nothing is reported after it, because unchecked structures would seem to be missing. A group
//! whose inode table cannot be found has `inodes_unknown` set, and nothing is reported about its
//! inodes.
//!
//! Memory is proportional to the ranges of used blocks, or one bit for each block, plus some bytes
//! for each used inode, plus one directory.

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

/// Limit on the blocks of zeros that are read where other content is required; beyond it, the check
/// stops. A few bytes can lead to many of them, and an image of holes can have any number of them.
const MAX_ZERO_BLOCKS: u32 = 1000;

/// Checks an image: a file, a device, or memory. An image with a journal that was not replayed is
/// checked as if it had been.
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
/// [`ReadError::NotExt4`], [`ReadError::Unsupported`] for features that this crate does not
/// handle, [`ReadError::FastCommits`] if the journal has fast commits to replay, and
/// [`ReadError::Input`] if the image cannot be read. Every fault of the file system is a
/// [`Finding`] instead.
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

/// State of a check.
struct Checker<R> {
    reader: Reader<R>,
    findings: Findings,
    /// Number of blocks of the file system that are in the image.
    block_count: u64,
    group_count: u32,
    groups: Vec<Group>,
    /// Used blocks, from steps 3 and 6.
    claimed: ClaimedBlocks,
    /// Blocks of directories that step 7 has read. Damaged directories may share blocks, or lead
    /// to one many times.
    visited: ClaimedBlocks,
    inodes: UsedInodes,
    parents: Parents,
    /// Inodes in the orphan list or the orphan file.
    orphans: BTreeSet<u32>,
    /// Use of each block of attributes, by its number.
    xattr_blocks: BTreeMap<u64, xattrs::XattrBlockUse>,
    /// Use of each inode that holds the value of an attribute, by its number.
    value_inodes: BTreeMap<u32, value_inodes::ValueInodeUse>,
    /// Number of blocks of zeros where other content is required.
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

    /// Runs all steps after the superblock.
    fn run(&mut self) -> Result<(), ReadError> {
        self.check_journal()?;
        if !self.check_groups()? {
            return Ok(());
        }
        self.check_backups()?;
        self.check_journal_backup()?;
        self.collect_orphans()?;
        // Pass 1 of e2fsck: inodes, their blocks and attributes.
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
        // Pass 3: each directory has one parent, and is reachable from the root.
        self.check_connections();
        // Pass 4: each inode has as many links as its count.
        self.check_link_counts()?;
        // Pass 5: bitmaps and counts match the used blocks and inodes.
        self.check_bitmaps()
    }

    /// Adds a finding.
    fn report(&mut self, structure: Structure, problem: Problem) {
        self.findings.add(structure, problem);
    }

    /// Reports a problem unless `holds` is true.
    fn require(&mut self, holds: bool, structure: Structure, problem: Problem) {
        self.findings.require(holds, structure, problem);
    }

    /// Reads a block. Reports a block outside of the image, and returns `None`.
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

    /// Reads a block that must not be all zeros, and returns `None` once the check has ended. Too
    /// many blocks of zeros end the check: they take time to read, without bytes in the image.
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

/// Reports an error of the reader as a finding, and returns `None`. An error of the source stays
/// an error, except at the end of the image.
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
