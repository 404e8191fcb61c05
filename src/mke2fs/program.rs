//! The programs of e2fsprogs: where they are, and how they are run.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tracing::{debug, info};

use super::IMAGE;
use super::error::{Mke2fsError, WorkAction, working};
use layer::cancel::{Cancel, Cancelled};
use layer::text::harmless;
use oci::host::{Access, Directory};

/// How long a program runs until it is looked at again.
const PAUSE: Duration = Duration::from_millis(10);
/// How variables begin that e2fsprogs obeys.
const SETTINGS: [&[u8]; 4] = [b"MKE2FS_", b"E2FSPROGS_", b"E2FSCK_", b"DEBUGFS_"];
/// Lines of what a program says that are passed on.
const MAX_LINES: usize = 20;

/// Where they are.
pub(crate) struct Programs {
    pub(super) mke2fs: PathBuf,
    pub(super) debugfs: PathBuf,
    pub(super) e2fsck: Option<PathBuf>,
}

/// A directory to run them in.
pub(super) struct Workshop<'a> {
    directory: &'a Directory,
    /// A path that leads to it, whatever becomes of its own.
    path: PathBuf,
    pub(super) programs: &'a Programs,
    cancel: &'a Cancel,
}

impl Programs {
    /// Finds those that belong to a mke2fs: beside it, or in `PATH`.
    pub(crate) fn find(mke2fs: &Path) -> Result<Self, Mke2fsError> {
        if cfg!(not(unix)) {
            return Err(Mke2fsError::Platform);
        }
        let mke2fs = match mke2fs.parent() {
            // As a shell does: a name alone is looked for.
            Some(parent) if parent.as_os_str().is_empty() => {
                in_path(mke2fs.as_os_str()).unwrap_or_else(|| mke2fs.to_owned())
            }
            _ => mke2fs.to_owned(),
        };
        let found = match fs::metadata(&mke2fs) {
            Ok(metadata) if metadata.is_file() => Ok(()),
            // What running it would say.
            Ok(_) => Err(io::ErrorKind::PermissionDenied.into()),
            Err(source) => Err(source),
        };
        found.map_err(|source| Mke2fsError::Run {
            program: mke2fs.clone(),
            source,
        })?;
        // They are run elsewhere.
        let mke2fs = std::path::absolute(&mke2fs).map_err(working(WorkAction::Find, &mke2fs))?;
        let find = |name: &str| {
            let beside = mke2fs.with_file_name(name);
            beside.is_file().then_some(beside).or_else(|| in_path(name.as_ref()))
        };
        let Some(debugfs) = find("debugfs") else {
            let missing = "debugfs";
            return Err(Mke2fsError::Missing { missing, mke2fs });
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

fn in_path(name: &OsStr) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let directories = env::split_paths(&path).chain(usual);
    directories
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

impl<'a> Workshop<'a> {
    /// Takes an empty directory.
    pub(super) fn new(
        directory: &'a Directory,
        programs: &'a Programs,
        cancel: &'a Cancel,
    ) -> Result<Self, Mke2fsError> {
        let path = directory
            .stable_path()
            .map_err(working(WorkAction::Use, directory.path()))?;
        Ok(Self {
            directory,
            path,
            programs,
            cancel,
        })
    }

    /// Writes a file of the directory, in place of one that it wrote before.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<(), Mke2fsError> {
        let write = || {
            let mut file = self.directory.open_file(name, Access::Create)?;
            file.set_len(0)?;
            file.write_all(content)
        };
        write().map_err(working(WorkAction::Write, &self.directory.path().join(name)))
    }

    /// A program that is to see nothing of the clock, the language and the settings of this machine.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            let name_bytes = name.as_encoded_bytes();
            if SETTINGS.iter().any(|start| name_bytes.starts_with(start)) {
                command.env_remove(name);
            }
        }
        command.current_dir(&self.path).env("LC_ALL", "C");
        // To e2fsprogs, 0 is no time.
        command.env("E2FSPROGS_FAKE_TIME", "1").env("SOURCE_DATE_EPOCH", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Runs a program to its end, or to that of somebody's patience, and returns what it said on standard error; what goes to
    /// standard output as well, if that is to be heard.
    pub(super) fn run(&self, command: &mut Command, is_all_heard: bool) -> Result<(ExitStatus, String), Mke2fsError> {
        const SAID: &str = "said";
        let path = self.directory.path().join(SAID);
        let create = || {
            let file = self.directory.open_file(SAID, Access::Create)?;
            file.set_len(0)?;
            Ok((file.try_clone()?, file))
        };
        let (mut read, said) = create().map_err(working(WorkAction::Write, &path))?;
        if is_all_heard {
            command.stdout(said.try_clone().map_err(working(WorkAction::Write, &path))?);
        }
        let program = PathBuf::from(command.get_program());
        let (name, begun) = (program.display().to_string(), Instant::now());
        debug!(program = name, arguments = arguments(command), "runs a program");
        let failed = |source| Mke2fsError::Run { program, source };
        let mut child = command.stderr(said).spawn().map_err(failed)?;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if self.cancel.wait_timeout(PAUSE).is_ok() => {}
                ended => {
                    // It may have ended by itself meanwhile.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(match ended {
                        Err(source) => working(WorkAction::Wait, &path)(source),
                        Ok(_) => Cancelled.into(),
                    });
                }
            }
        };
        info!(program = name, %status, elapsed_ms = begun.elapsed().as_millis(), "a program has ended");
        if !status.success() {
            // A terminal interrupts the program too, which may end before this process knows.
            self.cancel.wait_timeout(PAUSE)?;
        }
        let mut said = Vec::new();
        read.rewind()
            .and_then(|()| read.read_to_end(&mut said))
            .map_err(working(WorkAction::Read, &path))?;
        Ok((status, printable(&said)))
    }

    /// As [`Workshop::run`], with an error if the program fails.
    pub(super) fn succeed(&self, command: &mut Command, is_all_heard: bool) -> Result<String, Mke2fsError> {
        let (status, message) = self.run(command, is_all_heard)?;
        succeeded(command, status, message)
    }

    /// Has e2fsck correct what is safe to correct.
    pub(super) fn mend(&self) -> Result<(), Mke2fsError> {
        let Some(e2fsck) = &self.programs.e2fsck else {
            return Err(Mke2fsError::Missing {
                missing: "e2fsck",
                mke2fs: self.programs.mke2fs.clone(),
            });
        };
        let mut command = self.command(e2fsck);
        match self.run(command.args(["-fp", IMAGE]), true)? {
            // It has corrected something.
            (status, _) if status.code() == Some(1) => Ok(()),
            (status, message) => succeeded(&command, status, message).map(|_| ()),
        }
    }

    /// Has e2fsck look at the image, where there is one.
    pub(super) fn check(&self) -> Result<(), Mke2fsError> {
        let Some(e2fsck) = &self.programs.e2fsck else {
            return Ok(());
        };
        let mut command = self.command(e2fsck);
        self.succeed(command.args(["-fn", IMAGE]), true).map(|_| ())
    }
}

/// Returns the arguments of a command as a text.
fn arguments(command: &Command) -> String {
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    arguments.join(" ")
}

fn succeeded(command: &Command, status: ExitStatus, message: String) -> Result<String, Mke2fsError> {
    if status.success() {
        return Ok(message);
    }
    Err(Mke2fsError::Failed {
        program: command.get_program().into(),
        status: status.to_string(),
        message: if message.is_empty() {
            "it says nothing".to_owned()
        } else {
            message
        },
    })
}

/// What a program said, on one line, without what a terminal would obey, and without the name and version that each says first.
fn printable(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let is_banner = |line: &str| {
        ["mke2fs ", "debugfs ", "e2fsck "].iter().any(|name| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        })
    };
    let lines = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !is_banner(line));
    let lines: Vec<_> = lines.take(MAX_LINES).map(harmless).collect();
    lines.join("; ")
}
