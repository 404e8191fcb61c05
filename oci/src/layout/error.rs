//! Errors of OCI image layouts.

use std::path::PathBuf;

use crate::digest::Digest;
use crate::listing::Listing;
use layer::failure::{ErrorKind, Failure, Hint};

/// An image layout that cannot be used, or does not hold the image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The directory or archive does not exist or has no `oci-layout` file.
    #[error("{} is not an OCI image layout: the file oci-layout is missing", .directory.display())]
    NoLayout {
        /// The directory, or the archive.
        directory: PathBuf,
    },
    /// The version of the layout is not 1.
    #[error("OCI image layout version {version:?} is not supported: only 1.0.0 is")]
    Version {
        /// The `imageLayoutVersion`.
        version: String,
    },
    /// A blob that a document refers to is missing.
    #[error("blob {digest} is missing: {} not found", .path.display())]
    MissingBlob {
        /// The digest of the blob.
        digest: Digest,
        /// The path of the missing file.
        path: PathBuf,
    },
    /// The `index.json` lists no image.
    #[error("the layout does not contain an image")]
    Empty,
    /// No image has that name.
    #[error("no image is tagged {tag:?}; available: {}", Listing(available))]
    NoSuchTag {
        /// The name in the reference.
        tag: String,
        /// The names of the images in the layout.
        available: Vec<String>,
    },
    /// Several images match the reference.
    #[error(
        "the layout holds several matching images: choose one with :<tag> or @<digest>; available: {}",
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
                "use the directory that holds the file oci-layout, as oci:<directory>, or a tar of it, as \
                 oci-archive:<file>"
            }
            Self::MissingBlob { .. } => {
                "copy the complete image into the layout again, for example with skopeo copy --all"
            }
            Self::NoSuchTag { .. } | Self::Ambiguous { .. } => "choose one of the available images",
            Self::Version { .. } | Self::Empty => return None,
        };
        Some(text.into())
    }
}
