//! Archives of `docker save` that do not hold an image.

use std::path::PathBuf;

use crate::listing::Listing;
use layer::failure::{ErrorKind, Failure, Hint};

/// An archive of `docker save` that does not hold the image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DockerArchiveError {
    /// No image of that name.
    #[error("{} holds no image {wanted:?}; there is {}", .path.display(), Listing(images))]
    NoSuchImage {
        /// The archive.
        path: PathBuf,
        /// The name that was asked for; empty if none was.
        wanted: String,
        /// Position and names of each image.
        images: Vec<String>,
    },
    /// So many images that could be meant that nobody looks at each.
    #[error("{} holds more than {max} images that could be meant, name one by :<name>:<tag> or :@<position>", .path.display())]
    TooManyImages {
        /// The archive.
        path: PathBuf,
        /// Most images that are looked at.
        max: usize,
    },
    /// Several images, and nothing that says which.
    #[error(
        "several images could be meant, name one by :<name>:<tag> or :@<position>; {} holds {}",
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
        Some("name one of those that there are".into())
    }
}
