//! Why e2fsprogs makes no such image.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ext4::ReadError;

use crate::stage::StageReason;
use layer::cancel::Cancelled;
use layer::failure::{ErrorKind, Failure, Hint, Setting};
use oci::host::io_error_kind;

/// An image that e2fsprogs did not make, or not as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Mke2fsError {
    /// A system whose files cannot stand in for those of an image.
    #[error("mke2fs cannot be used on this system, which has no symlinks and special files for it to pick up")]
    Platform,
    /// A program is not there, or cannot be run.
    #[error("could not run {}", .program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no debugfs or e2fsck to put right what mke2fs makes.
    #[error("there is no {missing} beside {}, and none in PATH", .mke2fs.display())]
    Missing {
        /// The program that is needed, too.
        missing: &'static str,
        /// The program that was asked for.
        mke2fs: PathBuf,
    },
    /// A program failed.
    #[error("{} failed, {status}: {message}", .program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// How it ended: `exit status: 1`.
        status: String,
        /// What it said.
        message: String,
    },
    /// The image is not what it should be.
    #[error("what e2fsprogs made differs from the image at {path:?}: {what}{said}")]
    Different {
        /// Path in the image.
        path: String,
        /// How.
        what: &'static str,
        /// What debugfs said meanwhile, if anything.
        said: String,
    },
    /// One of the two images could not be read.
    #[error("could not read an image that is being built")]
    Read(#[from] ReadError),
    /// Files for mke2fs to pick up could not be made.
    #[error("could not make the files that mke2fs is to pick up")]
    Stage(#[from] StageReason),
    /// A temporary file could not be used.
    #[error("could not {action} {}", .path.display())]
    Work {
        /// What was tried.
        action: WorkAction,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
}

/// Use of a temporary file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkAction {
    /// Making it.
    Make,
    /// Opening it.
    Open,
    /// Finding its path.
    Find,
    /// Naming it to a program.
    Use,
    /// Reading it.
    Read,
    /// Writing it.
    Write,
    /// Giving it its size.
    Enlarge,
    /// Waiting for the program that writes it.
    Wait,
    /// Removing it.
    Remove,
}

impl fmt::Display for WorkAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Make => "make",
            Self::Open => "open",
            Self::Find => "find",
            Self::Use => "use",
            Self::Read => "read",
            Self::Write => "write",
            Self::Enlarge => "enlarge",
            Self::Wait => "wait for what writes",
            Self::Remove => "remove",
        })
    }
}

impl Mke2fsError {
    pub(super) fn different(path: &[u8], what: &'static str) -> Self {
        Self::Different {
            path: format!("/{}", String::from_utf8_lossy(path)),
            what,
            said: String::new(),
        }
    }

    /// Adds to a difference what may be its cause.
    pub(super) fn explained_by(mut self, message: &str) -> Self {
        if let Self::Different { said, .. } = &mut self
            && !message.is_empty()
        {
            *said = format!("; debugfs said: {message}");
        }
        self
    }
}

impl Failure for Mke2fsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Platform | Self::Different { .. } => ErrorKind::Unsupported,
            Self::Run { source, .. } | Self::Work { source, .. } => io_error_kind(source),
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
                Some("name the mke2fs of e2fsprogs with its path".into())
            }
            Self::Missing { .. } => Some("install e2fsprogs whole".into()),
            Self::Work { source, .. } => Hint::on_write(source.kind()),
            _ => None,
        };
        let first = first.map_or_else(Hint::default, |first| first.and(", or "));
        let without = first.and("leave ").about(Setting::Mke2fs, "{}", "mke2fs");
        Some(without.and(" away: images are built without it"))
    }
}

pub(super) fn working(action: WorkAction, path: &Path) -> impl FnOnce(io::Error) -> Mke2fsError {
    move |source| Mke2fsError::Work {
        action,
        path: path.to_owned(),
        source,
    }
}
