//! Errors of a build with e2fsprogs.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ext4::ReadError;

use crate::stage::StageReason;
use layer::cancel::Cancelled;
use layer::failure::{ErrorKind, Failure, Hint, Setting};
use oci::host::io_error_kind;

/// A failed build with e2fsprogs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Mke2fsError {
    /// The system is not Unix, so a directory cannot hold the files of an image.
    #[error("mke2fs cannot be used on this system: it needs Unix symlinks, modes and owners in its source directory")]
    Platform,
    /// A program does not exist, or cannot be run.
    #[error("could not run {}", .program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The debugfs or e2fsck that has to correct the image was not found.
    #[error("{program} was not found beside {}, nor in PATH", .mke2fs.display())]
    Missing {
        /// Name of the missing program.
        program: &'static str,
        /// Path of the mke2fs from the options.
        mke2fs: PathBuf,
    },
    /// A program exited with an error, or was killed by a signal.
    #[error("{} failed, {status}: {stderr}", .program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// Its exit status or signal, such as `exit status: 1`.
        status: String,
        /// Its standard error, and for e2fsck its standard output, on one line.
        stderr: String,
    },
    /// The image differs from the native one.
    #[error("the image made by e2fsprogs differs from the native image at {path:?}: {difference}{stderr}")]
    Different {
        /// Path in the image.
        path: String,
        /// The property that differs.
        difference: &'static str,
        /// Standard error of debugfs, introduced by `; debugfs said: `, or empty.
        stderr: String,
    },
    /// The native image, or the one that e2fsprogs made, could not be read.
    #[error("could not read an image that is being built")]
    Read(#[from] ReadError),
    /// The files for mke2fs could not be exported.
    #[error("could not export the files for mke2fs")]
    Stage(#[from] StageReason),
    /// A temporary file or directory, or a program's path, could not be used.
    #[error("could not {action} {}", .path.display())]
    File {
        /// The action that failed.
        action: FileAction,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The build was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
}

/// Action on a file or directory that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileAction {
    /// Create it.
    Make,
    /// Open it.
    Open,
    /// Find its absolute path.
    Find,
    /// Use it as the working directory of a program.
    Use,
    /// Read it.
    Read,
    /// Write it.
    Write,
    /// Enlarge it.
    Enlarge,
    /// Wait for the program that writes it.
    Wait,
    /// Remove it.
    Remove,
}

impl fmt::Display for FileAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Make => "create",
            Self::Open => "open",
            Self::Find => "find",
            Self::Use => "use",
            Self::Read => "read",
            Self::Write => "write",
            Self::Enlarge => "enlarge",
            Self::Wait => "wait for the program that writes",
            Self::Remove => "remove",
        })
    }
}

impl Mke2fsError {
    pub(super) fn different(path: &[u8], difference: &'static str) -> Self {
        Self::Different {
            path: format!("/{}", String::from_utf8_lossy(path)),
            difference,
            stderr: String::new(),
        }
    }

    /// Adds the standard error of debugfs, which may explain a difference.
    pub(super) fn with_stderr(mut self, text: &str) -> Self {
        if let Self::Different { stderr, .. } = &mut self
            && !text.is_empty()
        {
            *stderr = format!("; debugfs said: {text}");
        }
        self
    }
}

impl Failure for Mke2fsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Platform | Self::Different { .. } => ErrorKind::Unsupported,
            Self::Run { source, .. } | Self::File { source, .. } => io_error_kind(source),
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Failed { .. } => ErrorKind::Permanent,
            Self::Read(error) => error.kind(),
            Self::Stage(reason) => reason.kind(),
            Self::Cancelled(_) => ErrorKind::Transient,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let first: Option<Hint> = match self {
            Self::Run { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("give the path of the mke2fs of e2fsprogs".into())
            }
            Self::Missing { .. } => Some("install all of e2fsprogs".into()),
            Self::File { source, .. } => Hint::on_write(source.kind()),
            _ => None,
        };
        let first = first.map_or_else(Hint::default, |first| first.and(", or "));
        let without = first.and("omit ").about(Setting::Mke2fs, "{}", "mke2fs");
        Some(without.and(": images are then built without e2fsprogs"))
    }
}

/// Returns a function that wraps an I/O error in [`Mke2fsError::File`].
pub(super) fn file_error(action: FileAction, path: &Path) -> impl FnOnce(io::Error) -> Mke2fsError {
    move |source| Mke2fsError::File {
        action,
        path: path.to_owned(),
        source,
    }
}
