//! Errors between a reference and the bytes of its layers.

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

/// An image that could not be found, read or trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A file of it cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The image layout directory does not hold it.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The archive of `docker save` does not hold it.
    #[error(transparent)]
    DockerArchive(#[from] DockerArchiveError),
    /// The registry does not give it.
    #[cfg(feature = "registry")]
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The credentials could not be read.
    #[cfg(feature = "registry")]
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// It is in a registry, and the feature `registry` was left out of this program.
    #[error("cannot speak to {registry}: built without registries")]
    NoRegistries {
        /// Host with or without port.
        registry: String,
    },
    /// The blob store on this machine failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Some content is not what its descriptor says.
    #[error("{digest} is corrupt where it comes from")]
    Content {
        /// The digest that was asked for.
        digest: Digest,
        /// The fault.
        #[source]
        source: DigestError,
    },
    /// A layer that cannot be read or decompressed.
    #[error("cannot read layer {digest}")]
    Decode {
        /// The digest of its blob.
        digest: Digest,
        /// The fault.
        #[source]
        source: DecodeError,
    },
    /// An index, manifest or config that cannot be used.
    #[error("cannot use {document}")]
    Document {
        /// Its digest, or its path.
        document: String,
        /// The fault.
        #[source]
        source: ManifestError,
    },
    /// There are images, but none for the platform.
    #[error("no image for {wanted}; there is {}", Listing(available))]
    NoPlatform {
        /// The platform asked for.
        wanted: Box<Platform>,
        /// The platforms that there are, at most the first thousand, in the order of the index.
        available: Vec<Platform>,
    },
    /// The reference does not name an image that was listed.
    #[error("the reference does not name the image {digest}")]
    NotListed {
        /// The digest that was listed.
        digest: Digest,
    },
    /// More to download than may be, by what the manifest says. Nothing of it was downloaded.
    #[error("{digest}, of {size} bytes, would make {total} bytes of layers to download: at most {max} are allowed")]
    DownloadTooLarge {
        /// The layer that is too much.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Bytes of it and the layers below that are to be downloaded.
        total: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// It was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
}

impl ImageError {
    /// Returns the time after which the registry wants to be asked again, if it said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            #[cfg(feature = "registry")]
            Self::Registry(error) => error.retry_after(),
            _ => None,
        }
    }

    pub(super) fn document(document: impl fmt::Display, source: ManifestError) -> Self {
        Self::Document {
            document: document.to_string(),
            source,
        }
    }

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
            Self::NoRegistries { .. } => Some("name an image layout or an archive, such as oci:<directory>".into()),
            Self::Store(error) => error.hint(),
            Self::Document { source, .. } => source.hint(),
            Self::Content { source, .. } => source.hint(),
            Self::Decode { source, .. } => source.hint(),
            Self::NoPlatform { available, .. } => Some(match &available[..] {
                [only] => Hint::from("if that is the one that you want, say")
                    .about(Setting::Platform, " {}", "")
                    .and(format!(" {only}")),
                _ => Hint::from("ask for one of those that there are").with(Setting::Platform),
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
