//! The error of all that reads images, from a reference to the bytes of its layers.
//!
//! A new variant has more places: its `kind` and `hint` below, and `retry_after` if a server sets
//! a time. A setting in a hint is a `layer::failure::Setting`, and `src/cli/hints.rs` names its
//! flag; `login` there replaces hints on logins. `BuildError::removed_damaged_copy` in
//! `src/error.rs` lists the variants that a second attempt repairs. An error type that it wraps is
//! exported in `lib.rs`. Tests compare messages and hints in `tests/sources` and `tests/cli`.

use std::fmt;
use std::time::Duration;

use super::archive::ArchiveError;
#[cfg(feature = "registry")]
use super::auth::AuthError;
use super::blobs::StoreError;
use super::digest::{Digest, DigestError};
use super::docker_archive::DockerArchiveError;
use super::file_range::FileError;
use super::layout::LayoutError;
use super::listing::Listing;
use super::manifest::ManifestError;
use super::platform::Platform;
#[cfg(feature = "registry")]
use super::registry::RegistryError;
use layer::DecodeError;
use layer::cancel::Cancelled;
use layer::failure::{ErrorKind, Failure, Hint, Setting};

/// An image that could not be found, read or verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A file of the image cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The image layout cannot be used, or does not hold the image.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The archive cannot be read, or lacks a file.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The archive of `docker save` does not hold the image, or does not determine it.
    #[error(transparent)]
    DockerArchive(#[from] DockerArchiveError),
    /// The registry cannot be reached, or does not return the image.
    #[cfg(feature = "registry")]
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The credentials could not be read.
    #[cfg(feature = "registry")]
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The image is in a registry, and this program was built without the feature `registry`.
    #[error("cannot connect to {registry}: this program was built without registry support")]
    NoRegistries {
        /// Host, with or without port.
        registry: String,
    },
    /// The blob store in the state directory failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Content does not have the digest or size in its descriptor.
    #[error("{digest} is corrupt at its source")]
    Content {
        /// Digest in the descriptor.
        digest: Digest,
        /// The cause.
        #[source]
        source: DigestError,
    },
    /// A layer cannot be read or decompressed.
    #[error("cannot read layer {digest}")]
    Decode {
        /// Digest of its blob.
        digest: Digest,
        /// The cause.
        #[source]
        source: DecodeError,
    },
    /// An index, manifest or config cannot be used.
    #[error("cannot use {document}")]
    Document {
        /// Digest or path of the document.
        document: String,
        /// The cause.
        #[source]
        source: ManifestError,
    },
    /// No image is for the platform.
    #[error("no image for {wanted}; available: {}", Listing(available))]
    NoPlatform {
        /// The platform that was asked for.
        wanted: Box<Platform>,
        /// Platforms of the images, at most the first thousand, in the order of the index.
        available: Vec<Platform>,
    },
    /// The reference does not name an image that was listed.
    #[error("the reference does not name the image {digest}")]
    NotListed {
        /// Digest in the list.
        digest: Digest,
    },
    /// By the sizes in the manifest, the download would exceed the limit. None of these layers was
    /// downloaded.
    #[error("layer {digest} of {size} bytes brings the download to {total} bytes: at most {max} are allowed")]
    DownloadTooLarge {
        /// The layer that exceeds the limit.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Bytes to download for this layer and those before it.
        total: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// Reading or waiting was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
}

impl ImageError {
    /// Returns the time after which the registry asks to be called again, if it named one.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            #[cfg(feature = "registry")]
            Self::Registry(error) => error.retry_after(),
            _ => None,
        }
    }

    /// Returns an error about a document, which is named by its digest or path.
    pub(super) fn document(document: impl fmt::Display, source: ManifestError) -> Self {
        Self::Document {
            document: document.to_string(),
            source,
        }
    }

    /// Returns an error about content with another digest or size.
    pub(super) fn content(digest: &Digest, source: DigestError) -> Self {
        Self::Content {
            digest: digest.clone(),
            source,
        }
    }
}

impl Failure for ImageError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::File(error) => error.kind(),
            Self::Layout(error) => error.kind(),
            Self::Archive(error) => error.kind(),
            Self::DockerArchive(error) => error.kind(),
            #[cfg(feature = "registry")]
            Self::Registry(error) => error.kind(),
            #[cfg(feature = "registry")]
            Self::Auth(error) => error.kind(),
            Self::NoRegistries { .. } => ErrorKind::Unsupported,
            Self::Store(error) => error.kind(),
            Self::Document { source, .. } => source.kind(),
            Self::Content { source, .. } => source.kind(),
            Self::Decode { source, .. } => source.kind(),
            Self::NoPlatform { .. } | Self::NotListed { .. } => ErrorKind::NotFound,
            Self::DownloadTooLarge { .. } => ErrorKind::LimitExceeded,
            Self::Cancelled(_) => ErrorKind::Transient,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::File(error) => error.hint(),
            Self::Layout(error) => error.hint(),
            Self::Archive(error) => error.hint(),
            Self::DockerArchive(error) => error.hint(),
            #[cfg(feature = "registry")]
            Self::Registry(error) => error.hint(),
            #[cfg(feature = "registry")]
            Self::Auth(error) => error.hint(),
            Self::NoRegistries { .. } => Some("use an image layout or an archive, such as oci:<directory>".into()),
            Self::Store(error) => error.hint(),
            Self::Document { source, .. } => source.hint(),
            Self::Content { source, .. } => source.hint(),
            Self::Decode { source, .. } => source.hint(),
            Self::NoPlatform { available, .. } => Some(match &available[..] {
                [only] => Hint::from("if you want that one, use")
                    .about(Setting::Platform, " {}", "")
                    .and(format!(" {only}")),
                _ => Hint::from("choose one of the available platforms").with(Setting::Platform),
            }),
            Self::NotListed { .. } => Some("list the images again".into()),
            Self::DownloadTooLarge { total, .. } => {
                let raise = Hint::raise(Setting::MaxSize).and(", for example to ");
                Some(raise.mib(Setting::MaxSize, *total))
            }
            Self::Cancelled(_) => None,
        }
    }
}
