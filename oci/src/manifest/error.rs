//! Errors of indexes, manifests and configs.

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
    /// The document is not JSON, or lacks the structure that image-spec requires.
    #[error("invalid JSON or structure")]
    Json(#[source] Box<dyn Error + Send + Sync>),
    /// The document exceeds the limit on documents.
    #[error("{len} bytes: an index, manifest or config may have at most {MAX_DOCUMENT_LEN}")]
    TooLarge {
        /// Size in bytes, or the part of it that is known.
        len: u64,
    },
    /// The document is a Docker manifest of schema 1, which has no digests of the uncompressed
    /// layers.
    #[error(
        "a Docker manifest of the obsolete schema 1: push the image again with a current tool, \
         for example `skopeo copy --format oci`"
    )]
    Schema1,
    /// The document has an unknown `schemaVersion`.
    #[error("schema version {version} is not supported: only 2 is")]
    SchemaVersion {
        /// The `schemaVersion`.
        version: u32,
    },
    /// The document is both an index and a manifest, or one announced as the other.
    #[error("the document can be read both as an index and as a manifest")]
    Ambiguous,
    /// The document is neither an index nor a manifest.
    #[error("neither an image index nor an image manifest (media type {media_type:?})")]
    Unrecognised {
        /// Media type in the document; may be empty.
        media_type: String,
    },
    /// The manifest is that of an artifact, such as a chart, a signature or a module.
    #[error("an artifact of type {media_type:?}, not a container image")]
    NotAnImage {
        /// Type of the artifact, or media type of its config.
        media_type: String,
    },
    /// A layer is encrypted.
    #[error("the layers are encrypted ({media_type})")]
    EncryptedLayer {
        /// Media type of the layer.
        media_type: String,
    },
    /// A layer has a media type that is not that of a tar.
    #[error("not a container image: its layers have the type {media_type:?}, not that of a tar")]
    UnknownLayer {
        /// Media type of the layer.
        media_type: String,
    },
    /// The platform has an invalid name.
    #[error("invalid platform")]
    Platform(#[from] PlatformError),
    /// The root file system is not made of layers.
    #[error("root file system type {kind:?} is not supported: only \"layers\" is")]
    RootfsType {
        /// The `rootfs.type` of the config.
        kind: String,
    },
    /// Manifest and config have different numbers of layers.
    #[error("{layers} layers in the manifest, but {diff_ids} diff_ids in the config")]
    LayerCount {
        /// Number of layers in the manifest.
        layers: usize,
        /// Number of `rootfs.diff_ids` in the config.
        diff_ids: usize,
    },
    /// Indexes are nested too deeply.
    #[error("indexes are nested more than {max} deep")]
    TooDeep {
        /// Limit on the depth.
        max: usize,
    },
    /// A nested index is in the place of an image.
    #[error("a nested index, not an image")]
    IndexInIndex,
    /// The search for an image followed too many entries of indexes.
    #[error("no image for the platform in the first {max} documents")]
    TooManyDocuments {
        /// Limit on followed entries.
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
            Self::NotAnImage { .. } | Self::UnknownLayer { .. } => {
                Some("use the reference of a container image".into())
            }
            Self::IndexInIndex => Some("resolve a platform instead, which follows nested indexes".into()),
            _ => None,
        }
    }
}
