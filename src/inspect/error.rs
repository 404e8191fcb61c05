//! Errors of inspecting a disk image.

use std::io;
use std::path::{Path, PathBuf};

use ext4::ReadError;
use ext4::read::LookupError;

use crate::provenance::ProvenanceError;
use layer::cancel::Cancelled;
use layer::failure::{ErrorKind, Failure, Hint};

/// Error of inspecting a disk image.
#[derive(Debug, thiserror::Error)]
#[error("could not inspect {}", image_name(.image.as_deref()))]
pub struct InspectError {
    /// Path of the disk image; `None` if it is not a file.
    pub image: Option<PathBuf>,
    /// Reason.
    #[source]
    pub reason: InspectReason,
}

/// Reason why a disk image could not be inspected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectReason {
    /// The file could not be opened.
    #[error("could not open the file")]
    Open(#[source] io::Error),
    /// The file is not an ext4 file system, or its file system is damaged or unsupported.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The operation was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
    /// The provenance record is damaged or unknown.
    #[error("could not read its provenance")]
    Provenance(#[from] ProvenanceError),
    /// A path in the disk image does not exist or could not be read.
    #[error("could not read {path:?}")]
    Path {
        /// The path as the caller gave it.
        path: String,
        /// Error of the reader.
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

/// Returns the path of a disk image, or words for one without a path.
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
                io::ErrorKind::PermissionDenied => Some("check the permissions of the file".into()),
                io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput => Some("choose a disk image".into()),
                _ => None,
            },
            InspectReason::Read(error) => error.hint(),
            InspectReason::Provenance(error) => error.hint(),
            InspectReason::Cancelled(_) => None,
            InspectReason::Path { source, .. } => source.hint(),
        }
    }
}
