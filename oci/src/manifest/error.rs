//! What is wrong with a document.

use std::error::Error;

use super::MAX_DOCUMENT_LEN;
use crate::json;
use crate::platform::PlatformError;
use layer::DecodeError;
use layer::failure::{ErrorKind, Failure, Hint};

/// An index, manifest or config that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// No JSON, or not of the form that image-spec gives it.
    #[error("not valid JSON of its kind")]
    Json(#[source] Box<dyn Error + Send + Sync>),
    /// More bytes than any index, manifest or config may have.
    #[error("{len} bytes: more than the {MAX_DOCUMENT_LEN} that such a document may have")]
    TooLarge {
        /// Size in bytes, as far as it is known.
        len: u64,
    },
    /// Docker's image manifest of version 1, which has no digests of its layers' content.
    #[error(
        "a manifest of Docker's obsolete schema 1: push the image again with a current tool, \
         for example `skopeo copy --format oci`"
    )]
    Schema1,
    /// A `schemaVersion` that does not exist.
    #[error("schema version {version}: 2 is the one that there is")]
    SchemaVersion {
        /// The `schemaVersion`.
        version: u32,
    },
    /// An index and a manifest at the same time, or one announced as the other.
    #[error("it can be read both as an index and as a manifest")]
    Ambiguous,
    /// Neither index nor manifest.
    #[error("neither an image index nor an image manifest (media type {media_type:?})")]
    Unrecognised {
        /// Its media type, which may be empty.
        media_type: String,
    },
    /// A manifest of something else: a chart, a signature, a module.
    #[error("an artifact of type {media_type:?}, not a container image")]
    NotAnImage {
        /// The artifact's type, or that of its config.
        media_type: String,
    },
    /// An encrypted layer.
    #[error("its layers are encrypted ({media_type})")]
    EncryptedLayer {
        /// The layer's media type.
        media_type: String,
    },
    /// A layer that is no tar archive.
    #[error("not a container image of tar archives: it has layers of type {media_type:?}")]
    UnknownLayer {
        /// The layer's media type.
        media_type: String,
    },
    /// Names in a platform that cannot be.
    #[error("a platform that cannot be")]
    Platform(#[from] PlatformError),
    /// A root file system that is not made of layers.
    #[error("a root file system of type {kind:?}: \"layers\" is the one that there is")]
    RootfsType {
        /// The `rootfs.type` of the config.
        kind: String,
    },
    /// The manifest and its config disagree about the number of layers.
    #[error("{layers} layers in the manifest, but {diff_ids} diff_ids in its config")]
    LayerCount {
        /// Layers of the manifest.
        layers: usize,
        /// `rootfs.diff_ids` of the config.
        diff_ids: usize,
    },
    /// Indexes within indexes, too deep.
    #[error("indexes are nested more than {max} deep")]
    TooDeep {
        /// The depth that is allowed.
        max: usize,
    },
    /// An index where a listed image should be.
    #[error("an index in the index, not an image")]
    IndexInIndex,
    /// An index that leads to more documents than one would read to find an image.
    #[error("no image for the platform in the first {max} documents")]
    TooManyDocuments {
        /// The number of documents that is allowed.
        max: usize,
    },
}

impl ManifestError {
    pub(crate) fn json(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Json(error.into())
    }
}

impl From<json::Error> for ManifestError {
    fn from(error: json::Error) -> Self {
        Self::json(error)
    }
}

impl Failure for ManifestError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Schema1
            | Self::SchemaVersion { .. }
            | Self::Unrecognised { .. }
            | Self::NotAnImage { .. }
            | Self::EncryptedLayer { .. }
            | Self::UnknownLayer { .. }
            | Self::IndexInIndex
            | Self::RootfsType { .. } => ErrorKind::Unsupported,
            Self::Json(_)
            | Self::TooLarge { .. }
            | Self::Ambiguous
            | Self::Platform(_)
            | Self::LayerCount { .. }
            | Self::TooDeep { .. }
            | Self::TooManyDocuments { .. } => ErrorKind::Permanent,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::EncryptedLayer { media_type } => {
                let media_type = media_type.clone();
                DecodeError::Encrypted { media_type }.hint()
            }
            Self::NotAnImage { .. } | Self::UnknownLayer { .. } => Some("name a container image".into()),
            Self::IndexInIndex => Some("resolve the platform, which looks into indexes too".into()),
            _ => None,
        }
    }
}
