//! Errors of finding an image in an archive of `docker save`.

use std::path::PathBuf;

use crate::listing::Listing;
use layer::failure::{ErrorKind, Failure, Hint};

/// An archive of `docker save` that does not hold the image, or does not determine it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DockerArchiveError {
    /// The archive has no image of that name, position or digest.
    #[error("{} does not contain the image {wanted:?}; available: {}", .path.display(), Listing(images))]
    NoSuchImage {
        /// The archive.
        path: PathBuf,
        /// The name, position or digest in the reference; empty if it has none.
        wanted: String,
        /// Position and names of each image.
        images: Vec<String>,
    },
    /// More images match the reference than are read.
    #[error("{} holds more than {max} matching images: choose one with :<name>:<tag> or :@<position>", .path.display())]
    TooManyImages {
        /// The archive.
        path: PathBuf,
        /// The limit on images.
        max: usize,
    },
    /// Several images match the reference.
    #[error(
        "{} holds several matching images: choose one with :<name>:<tag> or :@<position>; available: {}",
        .path.display(),
        Listing(images)
    )]
    Ambiguous {
        /// The archive.
        path: PathBuf,
        /// Position and names of each image.
        images: Vec<String>,
    },
}

impl Failure for DockerArchiveError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchImage { .. } => ErrorKind::NotFound,
            Self::TooManyImages { .. } | Self::Ambiguous { .. } => ErrorKind::Permanent,
        }
    }

    fn hint(&self) -> Option<Hint> {
        Some("choose one of the available images".into())
    }
}
