//! Errors of commands: their messages on standard error, as text or JSON, and the exit status.
//!
//! A new error form is a variant of [`CommandError`], with an arm in [`CommandError::messages`]
//! and, where the default does not fit, in `kind`, `remediation` and `print` (the exit status). An
//! error of a library also goes into `library_error`, which supplies its kind and hint. A new exit
//! status is documented in `cli::run`, in the help text of the command (`after_help`), and in
//! README.md, and covered by the command's tests in `tests/cli`. A new `kind` for programs is a
//! word in `layer::failure::ErrorKind::as_str` and in README.md under "For programs".

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::iter;
use std::path::PathBuf;
use std::process::ExitCode;

use layer::failure::{self, ErrorKind};
use layer::text::harmless;
use microagent::diff::DiffError;
use microagent::error::BuildError;
use microagent::inspect::{CopyError, InspectError};
use oci::{Algorithm, Digest, ImageError, StoreError};
use serde::Serialize;

use super::hints;
use super::presentation::Mode;

/// Error of a command.
#[derive(Debug)]
pub(super) enum CommandError {
    /// The arguments or the environment are invalid.
    Usage(clap::Error),
    /// The build failed. `signal_status` is the exit status after a signal.
    Build {
        error: BuildError,
        signal_status: Option<u8>,
    },
    /// A disk image could not be inspected.
    Inspect(InspectError),
    /// Two disk images could not be compared.
    Diff(DiffError),
    /// A file could not be copied out of a disk image.
    Copy(CopyError),
    /// A registry or a credentials file failed.
    Registry(ImageError),
    /// A login failed.
    Login { error: Box<ImageError>, registry: String },
    /// There are no credentials to remove.
    NotLoggedIn { registry: String, file: PathBuf },
    /// The password could not be read.
    Password(io::Error),
    /// The cache could not be read or changed.
    Cache(StoreError),
    /// Blobs in the cache were corrupt, and have been removed.
    DamagedBlobs { count: usize },
    /// Entries of the cache could not be read or removed. All others are done.
    CacheProblems { problems: Vec<StoreError> },
    /// The check of a disk image found problems.
    ProblemsFound { path: PathBuf, count: u64 },
    /// A signal ended the command. `status` is the exit status.
    Interrupted { status: u8 },
    /// The command succeeded, but its result could not be written to standard output.
    Report(io::Error),
    /// The signal handlers could not be installed.
    SignalSetup(io::Error),
}

/// JSON form of an error.
#[derive(Serialize)]
struct JsonFailure<'a> {
    ok: bool,
    error: JsonError<'a>,
}

#[derive(Serialize)]
struct JsonError<'a> {
    kind: &'static str,
    message: String,
    remediation: Option<String>,
    retry_after_ms: Option<u64>,
    partial_output: bool,
    correlation_id: &'a str,
}

impl CommandError {
    /// Prints the error to standard error, and returns the exit status. `program` is the definition
    /// that `arguments` were parsed with; these begin with the name of the program.
    pub(super) fn print(&self, mode: Mode, program: &clap::Command, arguments: &[OsString]) -> ExitCode {
        // A closed standard error leaves no way to report this.
        let _ = match (mode, self) {
            (Mode::Ax, _) => self.print_json(program, arguments),
            (Mode::Ux, Self::Usage(error)) => error.print(),
            (Mode::Ux, _) => self.print_text(program, arguments),
        };
        match self {
            Self::Usage(_) | Self::Diff(_) => ExitCode::from(2),
            Self::Build { signal_status, .. } => ExitCode::from(signal_status.unwrap_or(1)),
            Self::Interrupted { status } => ExitCode::from(*status),
            _ => ExitCode::from(1),
        }
    }

    fn print_text(&self, program: &clap::Command, arguments: &[OsString]) -> io::Result<()> {
        let mut stderr = io::stderr().lock();
        let chain = self.messages();
        writeln!(stderr, "error: {}", chain[0])?;
        for cause in &chain[1..] {
            writeln!(stderr, "  caused by: {cause}")?;
        }
        if let Some(remediation) = self.remediation(program, arguments) {
            writeln!(stderr, "hint: {remediation}")?;
        }
        Ok(())
    }

    fn print_json(&self, program: &clap::Command, arguments: &[OsString]) -> io::Result<()> {
        let json = JsonFailure {
            ok: false,
            error: JsonError {
                kind: self.kind().as_str(),
                message: self.messages().join(": "),
                remediation: self.remediation(program, arguments),
                retry_after_ms: self.retry_after_ms(),
                partial_output: matches!(self, Self::Report(_)),
                correlation_id: &correlation_id(arguments),
            },
        };
        let mut line = serde_json::to_vec(&json)?;
        line.push(b'\n');
        io::stderr().lock().write_all(&line)
    }

    /// Returns the library's error, if the command failed in a library.
    fn library_error(&self) -> Option<&dyn failure::Failure> {
        Some(match self {
            Self::Build { error, .. } => error,
            Self::Inspect(error) => error,
            Self::Diff(error) => error,
            Self::Copy(error) => error,
            Self::Registry(error) => error,
            Self::Login { error, .. } => &**error,
            Self::Cache(error) => error,
            _ => return None,
        })
    }

    fn kind(&self) -> ErrorKind {
        if let Some(error) = self.library_error() {
            return error.kind();
        }
        match self {
            Self::NotLoggedIn { .. } => ErrorKind::NotFound,
            Self::CacheProblems { problems } => problems.first().map_or(ErrorKind::Permanent, failure::Failure::kind),
            Self::Interrupted { .. } => ErrorKind::Transient,
            Self::SignalSetup(_) => ErrorKind::SystemLimit,
            Self::Password(error) | Self::Report(error) => error.kind().into(),
            _ => ErrorKind::Permanent,
        }
    }

    /// Returns the message of the error, followed by the messages of its causes.
    fn messages(&self) -> Vec<String> {
        let (first, source): (_, Option<&dyn Error>) = match self {
            Self::Usage(error) => (usage_message(error), None),
            Self::Build { error, .. } => (error.to_string(), error.source()),
            Self::Inspect(error) => (error.to_string(), error.source()),
            Self::Diff(error) => (error.to_string(), error.source()),
            Self::Copy(error) => (error.to_string(), error.source()),
            Self::Registry(error) => (error.to_string(), error.source()),
            Self::Login { error, .. } => (error.to_string(), error.source()),
            Self::NotLoggedIn { registry, file } => {
                (format!("no credentials for {registry} in {}", file.display()), None)
            }
            Self::Password(error) => ("could not read the password".to_owned(), Some(error)),
            Self::Cache(error) => (error.to_string(), error.source()),
            Self::CacheProblems { problems } => {
                let (first, count) = (problems.first(), problems.len());
                let entries = if count == 1 { "entry" } else { "entries" };
                let text = format!(
                    "could not read or remove {count} {entries} of the cache; all other entries were processed"
                );
                (text, first.map(|error| error as &dyn Error))
            }
            Self::DamagedBlobs { count } => {
                let blobs = if *count == 1 { "blob" } else { "blobs" };
                (format!("found and removed {count} corrupt {blobs} in the cache"), None)
            }
            Self::ProblemsFound { path, count } => {
                let problems = if *count == 1 { "problem" } else { "problems" };
                (format!("found {count} {problems} in {}", path.display()), None)
            }
            Self::Interrupted { .. } => ("interrupted".to_owned(), None),
            Self::Report(error) => (
                "the command succeeded, but its result could not be printed".to_owned(),
                Some(error),
            ),
            Self::SignalSetup(error) => ("could not listen for signals".to_owned(), Some(error)),
        };
        let causes = iter::successors(source, |&error| error.source()).map(ToString::to_string);
        let mut chain: Vec<_> = iter::once(first)
            .chain(causes)
            .map(|text| clean_message(&text))
            .collect();
        // A cancellation is its own cause.
        chain.dedup();
        chain
    }

    fn remediation(&self, program: &clap::Command, arguments: &[OsString]) -> Option<String> {
        let hint = || Some(hints::text(&self.library_error()?.hint()?));
        match self {
            Self::Usage(_) => Some(format!("run {} --help", command_name(program, arguments))),
            Self::Login { error, registry } => hints::login_hint(error, registry),
            Self::NotLoggedIn { .. } => Some("list all credentials with microagent registry ls".to_owned()),
            Self::Password(_) => {
                Some("without a terminal, pass the password on standard input with --password-stdin".to_owned())
            }
            Self::SignalSetup(_) => {
                Some("allow more processes and threads (ulimit -u, pids.max), or end some".to_owned())
            }
            Self::Cache(StoreError::Refused { .. }) => hint(),
            Self::Cache(_) => Some("with --state-dir, choose a directory that you can read and write".to_owned()),
            Self::ProblemsFound { .. } => {
                Some("build the disk image again, or repair a copy with e2fsck -f".to_owned())
            }
            Self::CacheProblems { .. } => Some("check the entries named, and remove them yourself".to_owned()),
            Self::DamagedBlobs { .. } => Some("nothing to do: builds download removed blobs again".to_owned()),
            _ => hint(),
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Build { error, .. } => error.retry_after_ms(),
            _ => None,
        }
    }
}

/// Removes terminal control characters from a message, and cuts it to a readable length. Messages
/// can contain text from untrusted images and servers.
fn clean_message(text: &str) -> String {
    const MAX_LEN: usize = 2000;
    match text.char_indices().nth(MAX_LEN) {
        Some((end, _)) => harmless(&text[..end]) + "…",
        None => harmless(text),
    }
}

/// Prints the output of `--help` or `--version`.
pub(super) fn print_help(help: &clap::Error) -> ExitCode {
    match help.print() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// Returns the first paragraph of clap's message on one line, without usage and tips.
fn usage_message(error: &clap::Error) -> String {
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing".to_owned();
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let paragraph = text.split("\n\n").next().unwrap_or(text);
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the command in the arguments, such as `microagent registry login`, or `microagent rootfs
/// build` if they contain none.
fn command_name(program: &clap::Command, arguments: &[OsString]) -> String {
    let mut command = program;
    let mut names = vec!["microagent"];
    for argument in arguments.iter().skip(1).filter_map(|argument| argument.to_str()) {
        if let Some(found) = command.find_subcommand(argument) {
            names.push(argument);
            command = found;
        }
    }
    match names.len() {
        1 => "microagent rootfs build".to_owned(),
        _ => names.join(" "),
    }
}

/// Returns an identifier of the command line: the first 16 hexadecimal digits of the SHA-256 of its
/// arguments, each followed by a NUL.
///
/// Equal command lines have equal identifiers on all machines, so failures of one job can be
/// grouped.
fn correlation_id(arguments: &[OsString]) -> String {
    let mut bytes = Vec::new();
    for argument in arguments.iter().skip(1) {
        bytes.extend_from_slice(argument.as_encoded_bytes());
        bytes.push(0);
    }
    Digest::of(Algorithm::Sha256, &bytes).hex()[..16].to_owned()
}
