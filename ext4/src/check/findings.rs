//! What a check finds.

use std::fmt;

use crate::read::Structure;

/// Most findings that a report lists; the others are counted.
const MAX_LISTED: usize = 1000;

/// Something that is wrong with a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What is wrong.
    pub structure: Structure,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.structure, self.problem)
    }
}

/// All that is wrong with a file system; nothing if it is clean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The first 1,000 findings. If the check ended early, the last one says why.
    pub findings: Vec<Finding>,
    /// How many there were besides.
    pub more: u64,
}

impl Report {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

#[derive(Default)]
pub(super) struct Findings {
    report: Report,
    /// Whether the check is at its end, and nothing more means anything.
    is_over: bool,
}

impl Findings {
    pub(super) fn add(&mut self, structure: Structure, problem: String) {
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
    pub(super) fn end(&mut self, structure: Structure, problem: &str) {
        let report = &mut self.report;
        if !self.is_over && report.findings.len() == MAX_LISTED {
            report.findings.pop();
            report.more += 1;
        }
        self.add(structure, problem.to_owned());
        self.is_over = true;
    }

    pub(super) fn wrong_checksum(&mut self, structure: Structure) {
        self.add(structure, "its checksum is wrong".to_owned());
    }

    /// Adds a finding unless something holds.
    pub(super) fn expect(&mut self, holds: bool, structure: Structure, problem: impl FnOnce() -> String) {
        if !holds {
            self.add(structure, problem());
        }
    }

    /// Whether the check was ended.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.report.findings.len() as u64 + self.report.more
    }

    pub(super) fn into_report(self) -> Report {
        self.report
    }
}
