//! `rootfs verify`: whether a disk image is without a fault.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use layer::cancel::Cancel;
use microagent::verify::{Verdict, verify};
use oci::Digest;

use super::failure::CommandError;
use super::presentation::Format;
use super::report;

/// Arguments of `rootfs verify`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Verify {
    /// The ext4 disk image
    image: PathBuf,

    /// Digest that the file must have, such as the one that it was published with
    #[arg(long, value_name = "sha256:DIGEST")]
    digest: Option<Digest>,
}

const HELP: &str = "\
Checks the superblock and its copies, descriptors, bitmaps and counts, inodes, extents, directories and their indexes, links, \
extended attributes, the journal, and every checksum, and changes nothing. What a journal holds that was not replayed counts as \
if it had been. Contents of files have no checksums: of these, only --digest tells. Usage in quota files is not checked; a file \
system with features that are not known, such as encrypt or bigalloc, or with fast commits that were not replayed, is an error. \
Each problem is a line: where it is, and what it is.

Examples:
  microagent rootfs verify rootfs.ext4
  microagent rootfs verify rootfs.ext4 --digest sha256:<digest>

Exit status: 0 nothing is wrong, 1 something is, or it cannot be checked, 2 wrong usage.";

impl Verify {
    pub(super) fn run(&self, format: Format) -> Result<(), CommandError> {
        // It leaves nothing behind, so a signal may end it as it does any program.
        let verdict = verify(&self.image, self.digest.as_ref(), &Cancel::new()).map_err(CommandError::Inspect)?;
        let text = match format {
            Format::Json => serde_json::to_string(&verdict).map_err(|error| CommandError::Report(error.into()))? + "\n",
            Format::Text => self.text(&verdict),
        };
        report::write_stdout(text.as_bytes()).map_err(CommandError::Report)?;
        if verdict.is_clean() {
            return Ok(());
        }
        let count = verdict.report.findings.len() as u64 + verdict.report.more;
        Err(CommandError::ProblemsFound {
            path: self.image.clone(),
            count: count + u64::from(verdict.mismatch.is_some()),
        })
    }

    fn text(&self, verdict: &Verdict) -> String {
        let mut text = String::new();
        if let Some(mismatch) = &verdict.mismatch {
            writeln!(text, "the file: {mismatch}").expect("memory takes it");
        }
        for finding in &verdict.report.findings {
            writeln!(text, "{finding}").expect("memory takes it");
        }
        match verdict.report.more {
            0 => {}
            more => writeln!(text, "and {more} more").expect("memory takes it"),
        }
        if verdict.is_clean() {
            writeln!(text, "{}: nothing is wrong with it", self.image.display()).expect("memory takes it");
        }
        text
    }
}
