//! Image layouts that do not hold an image.

use std::path::PathBuf;

use crate::digest::Digest;
use crate::listing::Listing;
use layer::failure::{ErrorKind, Failure, Hint};

/// An image layout that does not hold the image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The directory or archive does not exist or has no `oci-layout` file.
    #[error("{} is no OCI image layout: it has no file oci-layout", .directory.display())]
    NoLayout {
        /// The directory, or the archive.
        directory: PathBuf,
    },
    /// A layout of a version other than 1.
    #[error("OCI image layout version {version:?}: 1.0.0 is the one that is supported")]
    Version {
        /// The `imageLayoutVersion`.
        version: String,
    },
    /// A blob that something refers to and that is not there.
    #[error("blob {digest} is missing: there is no {}", .path.display())]
    MissingBlob {
        /// The digest of the blob.
        digest: Digest,
        /// The path where it should be.
        path: PathBuf,
    },
    /// An `index.json` without any image.
    #[error("the layout holds no image")]
    Empty,
    /// No image of that name.
    #[error("no image is tagged {tag:?}; there is {}", Listing(available))]
    NoSuchTag {
        /// The name asked for.
        tag: String,
        /// The names that there are.
        available: Vec<String>,
    },
    /// Several images, and nothing that says which.
    #[error(
        "several images could be meant, name one by :<tag> or @<digest>; there is {}",
        Listing(images)
    )]
    Ambiguous {
        /// Name and digest of each.
        images: Vec<String>,
    },
}

impl Failure for LayoutError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoLayout { .. } | Self::MissingBlob { .. } | Self::Empty | Self::NoSuchTag { .. } => {
                ErrorKind::NotFound
            }
            Self::Version { .. } => ErrorKind::Unsupported,
            Self::Ambiguous { .. } => ErrorKind::Permanent,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::NoLayout { .. } => {
                "name the directory that holds the file oci-layout, as oci:<directory>, or a tar of it, as \
                 oci-archive:<file>"
            }
            Self::MissingBlob { .. } => "copy the image into the layout again, whole: skopeo copy --all, for example",
            Self::NoSuchTag { .. } | Self::Ambiguous { .. } => "name one of those that there are",
            Self::Version { .. } | Self::Empty => return None,
        };
        Some(text.into())
    }
}
