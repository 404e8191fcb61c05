//! Findings of a check, and the report of them.

use std::collections::BTreeSet;
use std::fmt;

use super::{Problem, Severity, StopReason};
use crate::read::{Structure, StructureKind};

/// Most findings that a report lists; the others are counted.
const MAX_LISTED: usize = 1000;

/// Something that is wrong with a file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// All that is wrong with a file system; nothing if it is clean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// The first 1,000 findings, each once. If the check ended early, the last one says why.
    pub findings: Vec<Finding>,
    /// Number of findings that are not listed.
    pub more: u64,
}

impl CheckReport {
    /// Returns whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// The findings of a check under way.
#[derive(Default)]
pub(super) struct Findings {
    report: CheckReport,
    /// Those that are listed. Structures are read by more than one pass: a damaged descriptor is
    /// met on the way to the journal's inode, and again among all descriptors.
    listed: BTreeSet<Finding>,
    /// Number of findings, with repetitions.
    count: u64,
    /// The check ended early, and further findings mean nothing.
    stopped: bool,
}

impl Findings {
    pub(super) fn add(&mut self, structure: Structure, problem: Problem) {
        if self.stopped {
            return;
        }
        self.count += 1;
        let finding = Finding { structure, problem };
        if self.listed.contains(&finding) {
            return;
        }
        let report = &mut self.report;
        if report.findings.len() < MAX_LISTED {
            self.listed.insert(finding.clone());
            report.findings.push(finding);
        } else {
            report.more += 1;
        }
    }

    /// Ends the check with a finding, which is listed however many there are.
    pub(super) fn stop(&mut self, reason: StopReason) {
        let report = &mut self.report;
        if !self.stopped && report.findings.len() == MAX_LISTED {
            report.findings.pop();
            report.more += 1;
        }
        self.add(Structure::Superblock, Problem::CheckStopped { reason });
        self.stopped = true;
    }

    /// Adds a finding unless something holds.
    pub(super) fn require(&mut self, holds: bool, structure: Structure, problem: Problem) {
        if !holds {
            self.add(structure, problem);
        }
    }

    /// Returns whether the check ended early.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Returns the number of findings so far. It grows with each, also with one that is listed.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn into_report(self) -> CheckReport {
        self.report
    }
}
