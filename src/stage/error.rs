//! Why the tree of a disk image cannot be exported.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ext4::ReadError;

use layer::cancel::Cancelled;
use layer::failure::{ErrorKind, Failure, Hint, Setting};
use oci::host::{Untrusted, io_error_kind, mkdir_hint};

/// A stage that could not be made. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[error("could not export the tree of the image to {}", .target.display())]
pub struct StageError {
    /// The directory that was asked for.
    pub target: PathBuf,
    /// Why not.
    #[source]
    pub reason: StageReason,
}

/// Why a stage could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageReason {
    /// Something is there already.
    #[error("{} exists", .0.display())]
    Exists(PathBuf),
    /// The directory or the file beside it could not be begun or named.
    #[error("could not {action} {}", .path.display())]
    Target {
        /// What was tried.
        action: TargetAction,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The disk image could not be read.
    #[error("could not read {path:?} in the image")]
    Read {
        /// Path in the image.
        path: String,
        /// Why not.
        #[source]
        source: ReadError,
    },
    /// A file could not be made.
    #[error("could not write {path:?}")]
    Write {
        /// Path in the image.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Two names of the image are the same name there.
    #[error("{path:?} and {other:?} are one name on the file system there")]
    SameName {
        /// Path in the image.
        path: String,
        /// Path in the image of the other one.
        other: String,
    },
    /// A name that no file can have there.
    #[error("{path:?} is no name for a file on this system")]
    Name {
        /// Path in the image.
        path: String,
    },
    /// A directory has more than one name, which no sound file system has.
    #[error("the directory {path:?} of the image is also elsewhere in it")]
    SecondDirectory {
        /// Path in the image.
        path: String,
    },
    /// It was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
}

/// Step in making a stage at its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetAction {
    /// Making a directory beside the path.
    Begin,
    /// Giving what is complete its name.
    Name,
}

impl fmt::Display for TargetAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Begin => "make a directory beside",
            Self::Name => "name",
        })
    }
}

impl StageReason {
    pub(super) fn at(self, target: &Path) -> StageError {
        StageError {
            target: target.to_owned(),
            reason: self,
        }
    }
}

impl Failure for StageError {
    fn kind(&self) -> ErrorKind {
        self.reason.kind()
    }

    fn hint(&self) -> Option<Hint> {
        self.reason.hint()
    }
}

impl Failure for StageReason {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Exists(_) => ErrorKind::Conflict,
            Self::Target { source, .. } | Self::Write { source, .. } => io_error_kind(source),
            Self::Read { source, .. } => source.kind(),
            Self::SameName { .. } | Self::Name { .. } => ErrorKind::Unsupported,
            Self::SecondDirectory { .. } => ErrorKind::Permanent,
            Self::Cancelled(_) => ErrorKind::Transient,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let name_directory = || Hint::from("name a directory").with(Setting::Stage);
        match self {
            Self::Exists(path) => {
                let advice = format!("remove {}, or name another directory", path.display());
                Some(
                    Hint::from(advice)
                        .with(Setting::Stage)
                        .and(": a stage replaces nothing"),
                )
            }
            Self::Target { path, source, .. } => match (Untrusted::from_error(source), source.kind()) {
                (Some(refusal), _) => refusal.output_hint(),
                (None, io::ErrorKind::NotFound) => Some(mkdir_hint(path)),
                (None, io::ErrorKind::PermissionDenied) => Some(name_directory().and(" where you can write")),
                (None, kind) => Hint::on_write(kind),
            },
            Self::Write { source, .. } => Hint::on_write(source.kind()),
            Self::SameName { .. } | Self::Name { .. } => Some(
                name_directory()
                    .and(" on a file system that takes all names of Linux, or look into the image")
                    .with(Setting::Inspect),
            ),
            Self::Read { .. } | Self::SecondDirectory { .. } | Self::Cancelled(_) => None,
        }
    }
}
