//! Why a build fails: what each stage says, joined.

mod kind;
mod remediation;

use std::fmt;
use std::io;
use std::path::PathBuf;

use ext4::FormatError;

use crate::guest::GuestError;
use crate::mke2fs::Mke2fsError;
use crate::stage::StageError;
use layer::cancel::Cancelled;
use layer::{DecodeError, LayerError, LayerErrorKind};
use oci::{Digest, DigestError, ImageError, Reference, StoreError};

pub use kind::{ErrorKind, Kind};
pub(crate) use remediation::disk_remediation;
pub use remediation::{Remedy, login_remediation};

/// A disk image that could not be built. Nothing of it is left, and an existing file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The reference names no digest, so that it may mean another image tomorrow.
    #[error("{reference} is not pinned by digest")]
    Mutable {
        /// The reference as given.
        reference: Box<Reference>,
        /// What it means today, pinned; known of images on this machine only.
        pinned: Option<String>,
    },
    /// Something is at the output's path that a file cannot replace.
    #[error("{} is a {found}, not a regular file", .path.display())]
    OutputNotAFile {
        /// The output's path.
        path: PathBuf,
        /// What is there: a `directory`, `symlink`, `device`, …
        found: &'static str,
    },
    /// The output could not be made, synced, read or named.
    #[error("could not {action} {}", .path.display())]
    Output {
        /// What was tried.
        action: OutputAction,
        /// The output's path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The image was not found, not readable, or cannot be used.
    #[error("could not get {reference}")]
    Image {
        /// The reference as given.
        reference: Box<Reference>,
        /// Why not.
        #[source]
        source: ImageError,
    },
    /// A layer cannot be trusted or applied.
    #[error("could not apply layer {number} of {count}, {digest}")]
    Layer {
        /// Position from the bottom, from 1.
        number: usize,
        /// How many layers there are.
        count: usize,
        /// Digest of its blob.
        digest: Digest,
        /// Why not.
        #[source]
        source: Box<LayerFailure>,
    },
    /// The image cannot run as a machine.
    #[error("could not prepare the image to run as a machine")]
    Guest(#[from] GuestError),
    /// The file system could not be begun or completed.
    #[error("could not write the file system")]
    Format(#[from] FormatError),
    /// E2fsprogs, which was asked for, does not make the image.
    #[error("could not build the image with mke2fs")]
    Mke2fs(#[from] Mke2fsError),
    /// The tree could not be exported.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The content needs a larger disk than one that is made to fit may be.
    #[error("the disk would have {needed} bytes: at most {max} are allowed")]
    DiskTooLarge {
        /// Smallest size in bytes, in whole MiB, that would do.
        needed: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// It was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
}

/// What is wrong with a layer, or what went wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerFailure {
    /// The source does not give the blob.
    #[error(transparent)]
    Source(#[from] ImageError),
    /// The blob is not the one that the manifest names.
    #[error("the blob is damaged where it comes from")]
    Blob(#[source] DigestError),
    /// The copy of the blob in the state directory was not the one that was downloaded, and is removed now.
    #[error("the copy of the blob in the state directory was damaged, and is removed")]
    Copy(#[source] DigestError),
    /// The copy of the blob in the state directory could not be read, and is removed now.
    #[error("the copy of the blob in the state directory could not be read, and is removed")]
    UnreadableCopy(#[source] io::Error),
    /// The tar in the blob is not the one that the config names.
    #[error("the content is not what the image's config promises (diff_id)")]
    Content(#[source] DigestError),
    /// The blob could not be read to its end.
    #[error("could not read the layer to its end")]
    Read(#[source] io::Error),
    /// The compression of the blob is unknown or unreadable.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The tar could not be read, or its entries not be put into the file system.
    #[error(transparent)]
    Apply(#[from] LayerError),
}

impl LayerFailure {
    /// Whether nothing that the blob turns out to be would change it: there is none, or what it was written to is to blame.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Source(_)
                | Self::Apply(LayerError {
                    kind: LayerErrorKind::Image(_),
                    ..
                })
        )
    }
}

/// What was tried with the output file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputAction {
    /// Make a file in its directory.
    Create,
    /// Wait until its content is on the disk.
    Sync,
    /// Read it again, for its digest.
    Read,
    /// Give it its name.
    Rename,
}

impl fmt::Display for OutputAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Sync => "sync",
            Self::Read => "read the finished image for",
            Self::Rename => "put the finished image in the place of",
        })
    }
}

impl BuildError {
    /// How long to wait before the next attempt, in milliseconds, where the source says so.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        let ImageError::Registry(error) = self.image_error()? else {
            return None;
        };
        let wait = error.retry_after()?;
        Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether something was damaged in the state directory that is removed now, so that the same again succeeds.
    pub(crate) fn is_repaired(&self) -> bool {
        let is_copy = matches!(self, Self::Layer { source, .. }
            if matches!(**source, LayerFailure::Copy(_) | LayerFailure::UnreadableCopy(_)));
        is_copy || matches!(self.image_error(), Some(ImageError::Store(StoreError::Damaged { .. })))
    }

    /// What the source says, if it is to blame.
    fn image_error(&self) -> Option<&ImageError> {
        match self {
            Self::Image { source, .. } => Some(source),
            Self::Layer { source, .. } => match &**source {
                LayerFailure::Source(source) => Some(source),
                _ => None,
            },
            _ => None,
        }
    }
}
