//! Errors of archives.

use std::path::PathBuf;

use super::{MAX_MEMBERS, MAX_NAMES_LEN};
use crate::file_range::MAKE_ARCHIVE_AGAIN;
use layer::DecodeError;
use layer::failure::{ErrorKind, Failure, Hint};

/// An archive that cannot be read, or lacks a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The archive cannot be decompressed.
    #[error("could not decompress the archive {}", .path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: DecodeError,
    },
    /// A layer in the archive cannot be decompressed.
    #[error("could not decompress the layer {}", .path.display())]
    Layer {
        /// The archive, joined with the name of the layer in it.
        path: PathBuf,
        /// The cause.
        #[source]
        source: DecodeError,
    },
    /// The file is not a tar, or is damaged or truncated.
    #[error("{} is damaged, or not a tar, at byte {offset}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Offset in bytes in the uncompressed tar.
        offset: u64,
    },
    /// The archive is empty: it lacks even the end-of-archive blocks of a tar.
    #[error("{} is empty", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The archive has more members, or longer names, than an image needs.
    #[error("{} holds more than {MAX_MEMBERS} files, or {MAX_NAMES_LEN} bytes of names", .path.display())]
    TooManyMembers {
        /// The file.
        path: PathBuf,
    },
    /// The archive lacks a file.
    #[error("{} does not contain {name}", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// Name of the file in the archive, or a digest.
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
                "name an archive that docker save of version 1.10 or later wrote; for an OCI layout, use oci-archive:<file>"
            }
            Self::Missing { .. } | Self::Damaged { .. } => MAKE_ARCHIVE_AGAIN,
            Self::Empty { .. } => "use a tar, or check why its writer wrote nothing",
            Self::TooManyMembers { .. } => return None,
        };
        Some(text.into())
    }
}
