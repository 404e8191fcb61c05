//! [`Finding`]s of a check, and the [`CheckReport`] that lists them.

use std::collections::BTreeSet;
use std::fmt;

use super::{Problem, Severity, StopReason};
use crate::read::{Structure, StructureKind};

/// Maximum number of findings that a report lists. The others are counted.
const MAX_LISTED: usize = 1000;

/// Fault of a file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Finding {
    /// Structure with the fault.
    pub structure: Structure,
    /// Problem of the structure.
    pub problem: Problem,
}

impl Finding {
    /// Returns the severity of the problem in its structure. Every problem of a backup is a
    /// warning.
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

/// Faults of a file system. Empty for a clean one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// The first 1,000 findings, without repetitions. If the check ended early, the last one is
    /// the reason.
    pub findings: Vec<Finding>,
    /// Number of findings that are not listed.
    pub more: u64,
}

impl CheckReport {
    /// Returns whether the file system has no fault.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Findings of a running check.
#[derive(Default)]
pub(super) struct Findings {
    report: CheckReport,
    /// Listed findings. Several passes read the same structures: a damaged descriptor is found
    /// while reading the journal's inode, and again among all descriptors.
    listed: BTreeSet<Finding>,
    /// Number of findings, including repetitions.
    count: u64,
    /// Set once the check has ended early. Further findings would be meaningless.
    stopped: bool,
}

impl Findings {
    /// Adds a finding, unless it is listed already or the check has ended early.
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

    /// Ends the check. Adds a finding with the reason, which is listed even if the list is full.
    pub(super) fn stop(&mut self, reason: StopReason) {
        let report = &mut self.report;
        if !self.stopped && report.findings.len() == MAX_LISTED {
            report.findings.pop();
            report.more += 1;
        }
        self.add(Structure::Superblock, Problem::CheckStopped { reason });
        self.stopped = true;
    }

    /// Adds a finding unless `holds` is true.
    pub(super) fn require(&mut self, holds: bool, structure: Structure, problem: Problem) {
        if !holds {
            self.add(structure, problem);
        }
    }

    /// Returns whether the check has ended early.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Returns the number of findings so far, including repetitions.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn into_report(self) -> CheckReport {
        self.report
    }
}
