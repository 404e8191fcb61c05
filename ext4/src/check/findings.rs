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
    /// The first 1,000 findings.
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
pub(super) struct Findings(Report);

impl Findings {
    pub(super) fn add(&mut self, structure: Structure, problem: String) {
        if self.0.findings.len() < MAX_LISTED {
            self.0.findings.push(Finding { structure, problem });
        } else {
            self.0.more += 1;
        }
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

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.findings.len() as u64 + self.0.more
    }

    pub(super) fn into_report(self) -> Report {
        self.0
    }
}
