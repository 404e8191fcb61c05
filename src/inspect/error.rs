//! Why a disk image, or something in it, cannot be looked at.

use std::io;
use std::path::{Path, PathBuf};

use ext4::ReadError;
use ext4::read::LookupError;

use crate::provenance::ProvenanceError;
use layer::cancel::Cancelled;
use layer::failure::{ErrorKind, Failure, Hint};

/// A disk image that could not be looked into.
#[derive(Debug, thiserror::Error)]
#[error("could not look into {}", image_name(.image.as_deref()))]
pub struct InspectError {
    /// Path of the disk image; `None` of a reader.
    pub image: Option<PathBuf>,
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
        source: LookupError,
    },
}

impl InspectError {
    pub(crate) fn new(image: Option<&Path>, reason: InspectReason) -> Self {
        Self {
            image: image.map(Path::to_owned),
            reason: Cancelled::surface(reason),
        }
    }
}

/// Returns the words for a disk image.
fn image_name(image: Option<&Path>) -> String {
    image.map_or("the disk image".to_owned(), |path| path.display().to_string())
}

impl Failure for InspectError {
    fn kind(&self) -> ErrorKind {
        match &self.reason {
            InspectReason::Open(source) => source.kind().into(),
            InspectReason::Read(error) => error.kind(),
            InspectReason::Provenance(error) => error.kind(),
            InspectReason::Cancelled(_) => ErrorKind::Transient,
            InspectReason::Path { source, .. } => source.kind(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        match &self.reason {
            InspectReason::Open(source) => match source.kind() {
                io::ErrorKind::NotFound => Some("check the path".into()),
                io::ErrorKind::PermissionDenied => Some("make it readable for you".into()),
                io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput => Some("name a disk image".into()),
                _ => None,
            },
            InspectReason::Read(error) => error.hint(),
            InspectReason::Provenance(error) => error.hint(),
            InspectReason::Cancelled(_) => None,
            InspectReason::Path { source, .. } => source.hint(),
        }
    }
}
