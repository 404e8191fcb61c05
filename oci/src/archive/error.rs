//! Archives that cannot be read.

use std::path::PathBuf;

use super::{MAX_MEMBERS, MAX_NAMES_LEN};
use crate::file_range::MAKE_ARCHIVE_AGAIN;
use layer::DecodeError;
use layer::failure::{ErrorKind, Failure, Hint};

/// An archive that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It is compressed in a way that is unknown.
    #[error("could not decompress the archive {}", .path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: DecodeError,
    },
    /// A layer in it is compressed in a way that is unknown.
    #[error("could not decompress the layer {}", .path.display())]
    Layer {
        /// The archive, and the name in it.
        path: PathBuf,
        /// Why not.
        #[source]
        source: DecodeError,
    },
    /// It is no tar, or it ends early.
    #[error("{} is damaged, or no tar, at byte {offset}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Offset in the tar, in bytes.
        offset: u64,
    },
    /// There is nothing in it, not even the end of a tar.
    #[error("{} is empty", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// More files, or longer names, than any image has.
    #[error("{} holds more than {MAX_MEMBERS} files, or {MAX_NAMES_LEN} bytes of their names", .path.display())]
    TooManyMembers {
        /// The file.
        path: PathBuf,
    },
    /// A file that belongs in it is missing.
    #[error("{} holds no {name}", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The name in it.
        name: String,
    },
}

impl Failure for ArchiveError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Decode { source, .. } | Self::Layer { source, .. } => source.kind(),
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Damaged { .. } | Self::Empty { .. } | Self::TooManyMembers { .. } => ErrorKind::Permanent,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::Decode {
                source: DecodeError::Unsupported { .. },
                ..
            } => "decompress the archive first, or compress it with gzip or zstd",
            Self::Decode { source, .. } | Self::Layer { source, .. } => return source.hint(),
            Self::Missing { name, .. } if name == "manifest.json" => {
                "name an archive of docker save, 1.10 or later; one of an OCI layout is written oci-archive:<file>"
            }
            Self::Missing { .. } | Self::Damaged { .. } => MAKE_ARCHIVE_AGAIN,
            Self::Empty { .. } => "name a tar, or see why what should write it did not",
            Self::TooManyMembers { .. } => return None,
        };
        Some(text.into())
    }
}
