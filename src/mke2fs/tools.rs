//! Finds and runs the programs of e2fsprogs.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tracing::{debug, info};

use super::IMAGE_NAME;
use super::error::{FileAction, Mke2fsError, file_error};
use layer::cancel::{Cancel, Cancelled};
use layer::text::harmless;
use oci::host::{Access, Directory};

/// Interval at which a program is polled for its exit, and the build for a cancellation.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Prefixes of the environment variables that configure e2fsprogs.
const ENVIRONMENT_PREFIXES: [&[u8]; 4] = [b"MKE2FS_", b"E2FSPROGS_", b"E2FSCK_", b"DEBUGFS_"];
/// Limit on the lines of a program's output in an error.
const MAX_OUTPUT_LINES: usize = 20;

/// Paths of the programs.
pub(crate) struct Programs {
    pub(super) mke2fs: PathBuf,
    pub(super) debugfs: PathBuf,
    pub(super) e2fsck: Option<PathBuf>,
}

/// The programs, with the directory in which they run.
pub(super) struct Tools<'a> {
    directory: &'a Directory,
    /// A path that leads to the directory even if another user renames a parent
    /// (`/proc/self/fd/…` on Linux).
    path: PathBuf,
    pub(super) programs: &'a Programs,
    cancel: &'a Cancel,
}

impl Programs {
    /// Finds debugfs and e2fsck beside an mke2fs, or in `PATH`. e2fsck is optional.
    ///
    /// # Errors
    ///
    /// [`Mke2fsError::Platform`] on a system that is not Unix, [`Mke2fsError::Run`] if mke2fs is
    /// not a file, and [`Mke2fsError::Missing`] if debugfs was not found.
    pub(crate) fn find(mke2fs: &Path) -> Result<Self, Mke2fsError> {
        if cfg!(not(unix)) {
            return Err(Mke2fsError::Platform);
        }
        let mke2fs = match mke2fs.parent() {
            // A name without a slash is looked up in PATH, as in a shell.
            Some(parent) if parent.as_os_str().is_empty() => {
                find_in_path(mke2fs.as_os_str()).unwrap_or_else(|| mke2fs.to_owned())
            }
            _ => mke2fs.to_owned(),
        };
        let found = match fs::metadata(&mke2fs) {
            Ok(metadata) if metadata.is_file() => Ok(()),
            // The error that running it would give.
            Ok(_) => Err(io::ErrorKind::PermissionDenied.into()),
            Err(source) => Err(source),
        };
        found.map_err(|source| Mke2fsError::Run {
            program: mke2fs.clone(),
            source,
        })?;
        // The programs run in another working directory.
        let mke2fs = std::path::absolute(&mke2fs).map_err(file_error(FileAction::Find, &mke2fs))?;
        let find = |name: &str| {
            let beside = mke2fs.with_file_name(name);
            beside
                .is_file()
                .then_some(beside)
                .or_else(|| find_in_path(name.as_ref()))
        };
        let Some(debugfs) = find("debugfs") else {
            let program = "debugfs";
            return Err(Mke2fsError::Missing { program, mke2fs });
        };
        let e2fsck = find("e2fsck");
        let shown = e2fsck.as_ref().map(|path| path.display().to_string());
        info!(mke2fs = %mke2fs.display(), debugfs = %debugfs.display(), e2fsck = shown, "found the programs");
        Ok(Self {
            mke2fs,
            debugfs,
            e2fsck,
        })
    }
}

/// Returns the path of a program in `PATH`, or in the directories of system programs, which the
/// `PATH` of a user often lacks.
fn find_in_path(name: &OsStr) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let directories = env::split_paths(&path).chain(usual);
    directories
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

impl<'a> Tools<'a> {
    /// Prepares to run programs in an empty directory.
    pub(super) fn new(
        directory: &'a Directory,
        programs: &'a Programs,
        cancel: &'a Cancel,
    ) -> Result<Self, Mke2fsError> {
        let path = directory
            .stable_path()
            .map_err(file_error(FileAction::Use, directory.path()))?;
        Ok(Self {
            directory,
            path,
            programs,
            cancel,
        })
    }

    /// Writes a file in the directory, or replaces the content of one that was written before.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<(), Mke2fsError> {
        let write = || {
            let mut file = self.directory.open_file(name, Access::Create)?;
            file.set_len(0)?;
            file.write_all(content)
        };
        write().map_err(file_error(FileAction::Write, &self.directory.path().join(name)))
    }

    /// Returns a command that depends neither on the clock, nor on the locale or the e2fsprogs
    /// settings of the machine.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            let name_bytes = name.as_encoded_bytes();
            if ENVIRONMENT_PREFIXES.iter().any(|start| name_bytes.starts_with(start)) {
                command.env_remove(name);
            }
        }
        command.current_dir(&self.path).env("LC_ALL", "C");
        // e2fsprogs ignores a time of 0.
        command.env("E2FSPROGS_FAKE_TIME", "1").env("SOURCE_DATE_EPOCH", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Runs a program until it exits, or kills it on a cancellation.
    ///
    /// Returns its exit status and its standard error on one line, with its standard output if
    /// `capture_stdout` is set.
    pub(super) fn run_with_status(
        &self,
        command: &mut Command,
        capture_stdout: bool,
    ) -> Result<(ExitStatus, String), Mke2fsError> {
        const STDERR_NAME: &str = "stderr";
        let path = self.directory.path().join(STDERR_NAME);
        let create = || {
            let file = self.directory.open_file(STDERR_NAME, Access::Create)?;
            file.set_len(0)?;
            Ok((file.try_clone()?, file))
        };
        let (mut read, stderr) = create().map_err(file_error(FileAction::Write, &path))?;
        if capture_stdout {
            command.stdout(stderr.try_clone().map_err(file_error(FileAction::Write, &path))?);
        }
        let program = PathBuf::from(command.get_program());
        let (name, begun) = (program.display().to_string(), Instant::now());
        debug!(program = name, arguments = arguments(command), "running a program");
        let failed = |source| Mke2fsError::Run { program, source };
        let mut child = command.stderr(stderr).spawn().map_err(failed)?;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if self.cancel.wait_timeout(POLL_INTERVAL).is_ok() => {}
                ended => {
                    // Fails if the program has exited meanwhile.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(match ended {
                        Err(source) => file_error(FileAction::Wait, &path)(source),
                        Ok(_) => Cancelled.into(),
                    });
                }
            }
        };
        info!(program = name, %status, elapsed_ms = begun.elapsed().as_millis(), "a program exited");
        if !status.success() {
            // Ctrl-C reaches the program too, which may exit before this process is cancelled.
            self.cancel.wait_timeout(POLL_INTERVAL)?;
        }
        let mut stderr = Vec::new();
        read.rewind()
            .and_then(|()| read.read_to_end(&mut stderr))
            .map_err(file_error(FileAction::Read, &path))?;
        Ok((status, one_line(&stderr)))
    }

    /// Runs a program as [`Tools::run_with_status`], and returns its output.
    ///
    /// # Errors
    ///
    /// [`Mke2fsError::Failed`] if the program exits with anything but 0.
    pub(super) fn run(&self, command: &mut Command, capture_stdout: bool) -> Result<String, Mke2fsError> {
        let (status, stderr) = self.run_with_status(command, capture_stdout)?;
        check_status(command, status, stderr)
    }

    /// Runs `e2fsck -fp`, which corrects what is safe to correct without a question.
    ///
    /// # Errors
    ///
    /// [`Mke2fsError::Missing`] if there is no e2fsck.
    pub(super) fn repair_with_e2fsck(&self) -> Result<(), Mke2fsError> {
        let Some(e2fsck) = &self.programs.e2fsck else {
            return Err(Mke2fsError::Missing {
                program: "e2fsck",
                mke2fs: self.programs.mke2fs.clone(),
            });
        };
        let mut command = self.command(e2fsck);
        match self.run_with_status(command.args(["-fp", IMAGE_NAME]), true)? {
            // Exit status 1: errors were corrected.
            (status, _) if status.code() == Some(1) => Ok(()),
            (status, stderr) => check_status(&command, status, stderr).map(|_| ()),
        }
    }

    /// Runs `e2fsck -fn`, which checks the image and changes nothing. Does nothing without an
    /// e2fsck.
    pub(super) fn check_with_e2fsck(&self) -> Result<(), Mke2fsError> {
        let Some(e2fsck) = &self.programs.e2fsck else {
            return Ok(());
        };
        let mut command = self.command(e2fsck);
        self.run(command.args(["-fn", IMAGE_NAME]), true).map(|_| ())
    }
}

/// Returns the arguments of a command as text, for a log.
fn arguments(command: &Command) -> String {
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    arguments.join(" ")
}

/// Returns the standard error of a program that succeeded.
///
/// # Errors
///
/// [`Mke2fsError::Failed`] if it did not.
fn check_status(command: &Command, status: ExitStatus, stderr: String) -> Result<String, Mke2fsError> {
    if status.success() {
        return Ok(stderr);
    }
    Err(Mke2fsError::Failed {
        program: command.get_program().into(),
        status: status.to_string(),
        stderr: if stderr.is_empty() {
            "no error message".to_owned()
        } else {
            stderr
        },
    })
}

/// Joins the lines of a program's output to one.
///
/// Escapes control characters, and omits the line with name and version that each program prints
/// first.
fn one_line(output: &[u8]) -> String {
    let output = String::from_utf8_lossy(output);
    let is_banner = |line: &str| {
        ["mke2fs ", "debugfs ", "e2fsck "].iter().any(|name| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        })
    };
    let lines = output
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !is_banner(line));
    let lines: Vec<_> = lines.take(MAX_OUTPUT_LINES).map(harmless).collect();
    lines.join("; ")
}
