//! Why the tree of a disk image cannot be exported.

use std::io;
use std::path::{Path, PathBuf};

use ext4::ReadError;

use crate::error::ErrorKind;
use layer::cancel::Cancelled;

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
        action: &'static str,
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

impl StageReason {
    pub(super) fn at(self, target: &Path) -> StageError {
        StageError {
            target: target.to_owned(),
            reason: self,
        }
    }
}

impl StageError {
    /// What kind of failure it is, by its type alone.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.reason.kind()
    }
}

impl StageReason {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            StageReason::Exists(_) => ErrorKind::Conflict,
            StageReason::Target { source, .. } | StageReason::Write { source, .. } => source.into(),
            StageReason::Read { source, .. } => source.into(),
            StageReason::SameName { .. } | StageReason::Name { .. } => ErrorKind::Unsupported,
            StageReason::SecondDirectory { .. } => ErrorKind::Permanent,
            StageReason::Cancelled(_) => ErrorKind::Transient,
        }
    }
}
