//! Findings of a check, and the report of them.

use std::error::Error;
use std::fmt;

use super::Problem;
use crate::read::{Structure, StructureKind};

/// Most findings that a report lists; the others are counted.
const MAX_LISTED: usize = 1000;

/// Something that is wrong with a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The structure that is wrong.
    pub structure: Structure,
    /// The fault of the structure.
    pub problem: Problem,
}

impl Finding {
    /// Returns the severity of the problem in its structure: nothing that is wrong with a backup is
    /// more than a warning.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self.structure.kind() {
            StructureKind::SuperblockBackup | StructureKind::DescriptorsBackup => Severity::Warning,
            _ => self.problem.severity(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.structure, self.problem)
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Names and contents of files do not depend on it: a spare copy, a total that the kernel
    /// counts again, or a field that it does not read.
    Warning,
    /// The kernel or e2fsck may refuse what it concerns, and files may be lost by using it.
    Error,
}

impl Severity {
    /// Returns `warning` or `error`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a check ended early: an image of few bytes could make it take any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// More than 1,000 group descriptors are damaged.
    DamagedDescriptors,
    /// Bitmaps or tables of more than 1,000 groups are not where they can be.
    MisplacedGroups,
    /// More than 1,000 blocks that should hold something are zeros.
    ZeroBlocks,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DamagedDescriptors => f.write_str("so many group descriptors are damaged"),
            Self::MisplacedGroups => f.write_str("the bitmaps and tables of so many groups cannot be where they are"),
            Self::ZeroBlocks => f.write_str("so many blocks that it leads to are zeros"),
        }
    }
}

impl Error for StopReason {}

/// All that is wrong with a file system; nothing if it is clean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The first 1,000 findings. If the check ended early, the last one says why.
    pub findings: Vec<Finding>,
    /// Number of findings that are not listed.
    pub more: u64,
}

impl Report {
    /// Returns whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// The findings of a check under way.
#[derive(Default)]
pub(super) struct Findings {
    report: Report,
    /// The check ended early, and further findings mean nothing.
    is_over: bool,
}

impl Findings {
    pub(super) fn add(&mut self, structure: Structure, problem: Problem) {
        if self.is_over {
            return;
        }
        let report = &mut self.report;
        if report.findings.len() < MAX_LISTED {
            report.findings.push(Finding { structure, problem });
        } else {
            report.more += 1;
        }
    }

    /// Ends the check with a finding, which is listed however many there are.
    pub(super) fn stop(&mut self, reason: StopReason) {
        let report = &mut self.report;
        if !self.is_over && report.findings.len() == MAX_LISTED {
            report.findings.pop();
            report.more += 1;
        }
        self.add(Structure::Superblock, Problem::CheckStopped { reason });
        self.is_over = true;
    }

    /// Adds a finding unless something holds.
    pub(super) fn expect(&mut self, holds: bool, structure: Structure, problem: Problem) {
        if !holds {
            self.add(structure, problem);
        }
    }

    /// Returns whether the check ended early.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Returns the number of findings.
    pub(super) fn count(&self) -> u64 {
        self.report.findings.len() as u64 + self.report.more
    }

    pub(super) fn into_report(self) -> Report {
        self.report
    }
}
