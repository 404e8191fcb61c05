//! Errors of exporting the tree of a disk image.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ext4::ReadError;

use layer::cancel::Cancelled;
use layer::failure::{ErrorKind, Failure, Hint, Setting};
use oci::host::{Untrusted, io_error_kind, mkdir_hint};

/// Error of creating a stage. Nothing of the stage is left.
#[derive(Debug, thiserror::Error)]
#[error("could not export the tree of the image to {}", .target.display())]
pub struct StageError {
    /// Directory that was asked for.
    pub target: PathBuf,
    /// Reason.
    #[source]
    pub reason: StageReason,
}

/// Reason why a stage could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageReason {
    /// The directory or its mtree file exists.
    #[error("{} exists", .0.display())]
    Exists(PathBuf),
    /// The directory or its mtree file could not be created or renamed.
    #[error("could not {action} {}", .path.display())]
    Target {
        /// Step that failed.
        action: TargetAction,
        /// Path of the directory or the mtree file.
        path: PathBuf,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
    /// The disk image could not be read.
    #[error("could not read {path:?} in the image")]
    Read {
        /// Path in the image.
        path: String,
        /// Error of the reader.
        #[source]
        source: ReadError,
    },
    /// A file of the stage could not be created or written.
    #[error("could not write {path:?}")]
    Write {
        /// Path in the image.
        path: String,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
    /// Two names in the image are one name on the host's file system.
    #[error("{path:?} and {other:?} are the same name on the file system of the stage")]
    SameName {
        /// Path in the image.
        path: String,
        /// Path in the image of the entry that already has the name.
        other: String,
    },
    /// The host's file system does not allow a name.
    #[error("{path:?} is not a valid file name on this system")]
    Name {
        /// Path in the image.
        path: String,
    },
    /// A directory has more than one name, which ext4 forbids.
    #[error("the directory {path:?} of the image has a second name")]
    SecondDirectory {
        /// Path in the image.
        path: String,
    },
    /// The export was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
}

/// Step in creating a stage at its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetAction {
    /// Creating the temporary directory or file beside the path.
    Begin,
    /// Renaming the complete directory or file to its path.
    Name,
}

impl fmt::Display for TargetAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Begin => "create a temporary file or directory beside",
            Self::Name => "rename a temporary file or directory to",
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
        let choose_directory = || Hint::from("choose a directory").with(Setting::Stage);
        match self {
            Self::Exists(path) => {
                let advice = format!("remove {}, or choose another directory", path.display());
                Some(
                    Hint::from(advice)
                        .with(Setting::Stage)
                        .and(": a stage does not replace anything"),
                )
            }
            Self::Target { path, source, .. } => match (Untrusted::from_error(source), source.kind()) {
                (Some(refusal), _) => refusal.output_hint(),
                (None, io::ErrorKind::NotFound) => Some(mkdir_hint(path)),
                (None, io::ErrorKind::PermissionDenied) => Some(choose_directory().and(" that you can write to")),
                (None, kind) => Hint::on_write(kind),
            },
            Self::Write { source, .. } => Hint::on_write(source.kind()),
            Self::SameName { .. } | Self::Name { .. } => Some(
                choose_directory()
                    .and(" on a file system that allows all Linux file names, or look into the image")
                    .with(Setting::Inspect),
            ),
            Self::Read { .. } | Self::SecondDirectory { .. } | Self::Cancelled(_) => None,
        }
    }
}
