//! `microagent rootfs verify`.

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
    /// Disk image to check
    image: PathBuf,

    /// Expected digest of the whole file; reads all of it
    #[arg(long, value_name = "sha256:DIGEST")]
    digest: Option<Digest>,
}

const HELP: &str = "\
Checks the superblock and its backups, group descriptors, bitmaps and counts, inodes, extents, directories and their \
indexes, links, extended attributes, the journal, and every checksum. Writes nothing. If the journal needs recovery, \
checks the state after a replay. File contents have no checksums: only --digest detects damage in them. Does not check \
the usage in quota files. Fails for a file system with unsupported features, such as encrypt or bigalloc, or with fast \
commits that need recovery. Prints one line for each problem: the structure, and what is wrong with it.

Examples:
  microagent rootfs verify rootfs.ext4
  microagent rootfs verify rootfs.ext4 --digest sha256:<digest>

Exit status: 0 clean, 1 problems found or the disk image cannot be checked, 2 wrong usage.";

impl Verify {
    pub(super) fn run(&self, format: Format) -> Result<(), CommandError> {
        // This command leaves nothing to clean up, so signals keep their default action.
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
            writeln!(text, "the file: {mismatch}").expect("writing to a string does not fail");
        }
        for finding in &verdict.report.findings {
            writeln!(text, "{finding}").expect("writing to a string does not fail");
        }
        match verdict.report.more {
            0 => {}
            more => writeln!(text, "and {more} more").expect("writing to a string does not fail"),
        }
        if verdict.is_clean() {
            writeln!(text, "{}: clean", self.image.display()).expect("writing to a string does not fail");
        }
        text
    }
}
