//! Files that could not be used.

use std::io;
use std::path::PathBuf;

use crate::host::{Untrusted, io_error_kind};
use layer::DecodeError;
use layer::failure::{ErrorKind, Failure, Hint, Setting};

/// Advice on an archive that is damaged.
pub(crate) const MAKE_ARCHIVE_AGAIN: &str = "make the archive again, with skopeo copy or docker save, for example";

/// A file of an image on this machine that could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It could not be read, or not be decompressed.
    #[error("could not read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Bytes that were decompressed, or came through a pipe, could not be kept.
    #[error("could not unpack into a temporary file in {}", .path.display())]
    Scratch {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// More bytes than are read of what is compressed, or comes through a pipe.
    #[error("{} has more than the {max} bytes that are read of what is compressed, or comes through a pipe", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        max: u64,
    },
    /// A directory, device or FIFO where a file belongs.
    #[error("{} is no regular file", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
}

impl Failure for FileError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } | Self::Scratch { source, .. } => io_error_kind(source),
            Self::TooLarge { .. } => ErrorKind::LimitExceeded,
            Self::NotAFile { .. } => ErrorKind::Permanent,
        }
    }

    fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::Read { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => "make it readable for you".into(),
                io::ErrorKind::NotFound => "check the path".into(),
                _ => match DecodeError::of(source)? {
                    DecodeError::Stream { .. } => MAKE_ARCHIVE_AGAIN.into(),
                    error => return error.hint(),
                },
            },
            Self::Scratch { path, source } => match Untrusted::from_error(source) {
                Some(refusal) => {
                    let own = Hint::from("name a directory of your own").with(Setting::StateDirectory);
                    refusal.hint(path, own)
                }
                None => Hint::from("name a directory")
                    .with(Setting::StateDirectory)
                    .and(" that you can write to, with space for what is in the archive"),
            },
            Self::TooLarge { .. } => Hint::raise(Setting::MaxSize),
            Self::NotAFile { .. } => return None,
        })
    }
}
