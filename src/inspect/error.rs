//! Why a disk image, or something in it, cannot be looked at.

use std::io;
use std::path::{Path, PathBuf};

use ext4::ReadError;

use super::walk::WalkError;
use crate::error::ErrorKind;
use crate::provenance::ProvenanceError;
use layer::cancel::Cancelled;

/// A disk image that could not be looked into.
#[derive(Debug, thiserror::Error)]
#[error("could not look into {}", .image.display())]
pub struct InspectError {
    /// Path of the disk image.
    pub image: PathBuf,
    /// Why not.
    #[source]
    pub reason: InspectReason,
}

/// Why a disk image could not be looked into.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectReason {
    /// The file could not be opened.
    #[error("could not open it")]
    Open(#[source] io::Error),
    /// It is no ext4 file system, or a damaged or unknown one.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
    /// What it says of its provenance is damaged.
    #[error("could not tell where it comes from")]
    Provenance(#[from] ProvenanceError),
    /// Nothing is at a path of it, or nothing that could be read.
    #[error("could not read {path:?} in it")]
    Path {
        /// The path as given.
        path: String,
        /// Why not.
        #[source]
        source: WalkError,
    },
}

impl InspectError {
    pub(crate) fn new(image: &Path, reason: InspectReason) -> Self {
        Self {
            image: image.to_owned(),
            reason: Cancelled::surface(reason),
        }
    }

    /// What kind of failure it is, by its type alone.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match &self.reason {
            InspectReason::Open(source) => source.kind().into(),
            InspectReason::Read(error) => error.into(),
            InspectReason::Cancelled(_) => ErrorKind::Transient,
            InspectReason::Provenance(ProvenanceError::Unknown(_)) => ErrorKind::Unsupported,
            InspectReason::Provenance(_) => ErrorKind::Permanent,
            InspectReason::Path { source, .. } => match source {
                WalkError::NotFound => ErrorKind::NotFound,
                WalkError::Read(error) => error.into(),
                _ => ErrorKind::Permanent,
            },
        }
    }

    /// What to do about it; none where there is nothing to say but the error itself.
    #[must_use]
    pub fn remediation(&self) -> Option<String> {
        let text = match &self.reason {
            InspectReason::Open(source) => match source.kind() {
                io::ErrorKind::NotFound => "check the path",
                io::ErrorKind::PermissionDenied => "make it readable for you",
                io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput => NAME_AN_IMAGE,
                _ => return None,
            },
            InspectReason::Read(error) => return read(error),
            InspectReason::Cancelled(_) => return None,
            InspectReason::Provenance(ProvenanceError::Unknown(_)) => "look into it with the version that built it",
            InspectReason::Provenance(ProvenanceError::Damaged) => VERIFY,
            InspectReason::Path { source, .. } => match source {
                WalkError::IsADirectory => "name a regular file, or list the directory with ls",
                WalkError::NotFound | WalkError::NotADirectory => "list the directory above it with ls",
                WalkError::NotAFile => "name a regular file; ls says what this is",
                WalkError::TooManySymlinks => "name the file that they lead to; ls shows where each leads",
                WalkError::Read(error) => return read(error),
            },
        };
        Some(text.to_owned())
    }
}

const NAME_AN_IMAGE: &str = "name a disk image";
const VERIFY: &str = "microagent rootfs verify lists all that is wrong with it";

fn read(error: &ReadError) -> Option<String> {
    let text = match error {
        ReadError::NotExt4 => NAME_AN_IMAGE,
        ReadError::Unsupported { .. } => "mount it, or look into it with debugfs",
        ReadError::NeedsRecovery | ReadError::FastCommits => {
            "replay the journal with e2fsck -p, or by mounting it once"
        }
        ReadError::Checksum { .. }
        | ReadError::Inode { .. }
        | ReadError::NoSuchInode { .. }
        | ReadError::Journal { .. }
        | ReadError::Superblock { .. } => VERIFY,
        ReadError::Input { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof => {
            "copy or build it again: it ends before the file system does"
        }
        ReadError::Input { source, .. } if source.kind() == io::ErrorKind::IsADirectory => NAME_AN_IMAGE,
        _ => return None,
    };
    Some(text.to_owned())
}

impl From<&ReadError> for ErrorKind {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::Input { source, .. } => source.kind().into(),
            ReadError::Unsupported { .. } | ReadError::FastCommits => Self::Unsupported,
            _ => Self::Permanent,
        }
    }
}
