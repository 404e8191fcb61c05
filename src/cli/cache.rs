//! `microagent cache`: lists, removes and verifies cached downloads.
//!
//! A new subcommand takes a variant of [`CacheCommand`], its work in `oci/src/blobs/cache.rs`, a
//! line in README.md, and tests in `tests/sources/store.rs`.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::UNIX_EPOCH;

use clap::{Args, Subcommand};
use oci::{Cache as Blobs, CacheReport};

use super::failure::CommandError;
use super::presentation::Format;
use super::report::write_stdout;
use super::signals::Signals;
use super::state::StateArguments;

/// Arguments of `cache`.
#[derive(Debug, Args)]
pub(super) struct Cache {
    #[command(flatten)]
    state: StateArguments,

    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// List cached blobs, most recently used first
    #[command(visible_alias = "list")]
    Ls,

    /// Remove cached blobs
    Prune {
        /// Keep the most recently used blobs, up to this many MiB
        #[arg(long, value_name = "MIB", default_value_t = 0)]
        keep_mib: u64,
    },

    /// Verify the digest of every cached blob, and remove corrupt ones
    Verify,
}

impl Cache {
    /// Runs the command, and prints the result on standard output.
    pub(super) fn run(&self, format: Format) -> Result<(), CommandError> {
        let blobs = Blobs::new(&self.state.directory().map_err(CommandError::Usage)?);
        match self.command {
            CacheCommand::Ls => print("kept", &blobs.entries().map_err(CommandError::Cache)?, format),
            CacheCommand::Prune { keep_mib } => {
                let removed = blobs
                    .trim(keep_mib.saturating_mul(1 << 20))
                    .map_err(CommandError::Cache)?;
                print("removed", &removed, format)?;
                fail_on_problems(removed)
            }
            CacheCommand::Verify => {
                let signals = Signals::listen().map_err(CommandError::SignalSetup)?;
                let damaged = blobs.verify(signals.cancel()).map_err(CommandError::Cache)?;
                print("corrupt and removed", &damaged, format)?;
                match (signals.exit_status(), damaged.entries.len()) {
                    (Some(status), _) => Err(CommandError::Interrupted { status }),
                    (None, count) if count > 0 && damaged.problems.is_empty() => {
                        Err(CommandError::DamagedBlobs { count })
                    }
                    (None, _) => fail_on_problems(damaged),
                }
            }
        }
    }
}

/// Returns an error if entries could not be read or removed.
fn fail_on_problems(report: CacheReport) -> Result<(), CommandError> {
    let problems = report.problems;
    if problems.is_empty() {
        return Ok(());
    }
    Err(CommandError::CacheProblems { problems })
}

/// Prints a report. In text format, entries that could not be read or removed are warnings on
/// standard error.
fn print(what: &str, report: &CacheReport, format: Format) -> Result<(), CommandError> {
    let text = match format {
        Format::Json => serde_json::to_string(report).map_err(|error| CommandError::Report(error.into()))? + "\n",
        Format::Text => {
            let mut stderr = io::stderr().lock();
            for warning in report.warnings() {
                // A closed standard error leaves no way to report this.
                let _ = writeln!(stderr, "warning: {warning}");
            }
            text(what, report)
        }
    };
    write_stdout(text.as_bytes()).map_err(CommandError::Report)
}

fn text(what: &str, report: &CacheReport) -> String {
    let mut text = String::new();
    for entry in &report.entries {
        let partial = if entry.partial { "  incomplete" } else { "" };
        let size = size(entry.size);
        let last_used = httpdate::fmt_http_date(entry.last_used.max(UNIX_EPOCH));
        writeln!(text, "{}  {size:>10}  {last_used}{partial}", entry.digest)
            .expect("writing to a string does not fail");
    }
    let (count, total) = (report.entries.len(), size(report.size()));
    let plural = if count == 1 { "" } else { "s" };
    writeln!(text, "{what}: {count} blob{plural}, {total}").expect("writing to a string does not fail");
    text
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        _ => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}
