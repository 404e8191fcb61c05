//! Errors of the files of an image on this machine.

use std::io;
use std::path::PathBuf;

use crate::host::{Untrusted, io_error_kind};
use layer::DecodeError;
use layer::failure::{ErrorKind, Failure, Hint, Setting};

/// Hint for a damaged archive.
pub(crate) const MAKE_ARCHIVE_AGAIN: &str = "make the archive again, with skopeo copy or docker save, for example";

/// A file of an image on this machine that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file could not be read or decompressed.
    #[error("could not read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The spool file for a compressed or piped archive could not be written.
    #[error("could not write a temporary file in {}", .path.display())]
    Spool {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A compressed or piped archive exceeds the limit on spooled bytes.
    #[error("{} has more than {max} bytes, the limit for compressed and piped archives", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        max: u64,
    },
    /// The path is a directory, device or FIFO.
    #[error("{} is not a regular file", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
}

impl Failure for FileError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } | Self::Spool { source, .. } => io_error_kind(source),
            Self::TooLarge { .. } => ErrorKind::LimitExceeded,
            Self::NotAFile { .. } => ErrorKind::Permanent,
        }
    }

    fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::Read { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => "make it readable for you".into(),
                io::ErrorKind::NotFound => "check the path".into(),
                _ => match DecodeError::find_in(source)? {
                    DecodeError::Stream { .. } => MAKE_ARCHIVE_AGAIN.into(),
                    error => return error.hint(),
                },
            },
            Self::Spool { path, source } => match Untrusted::from_error(source) {
                Some(refusal) => {
                    let own = Hint::from("use a directory of your own").with(Setting::StateDirectory);
                    refusal.hint(path, own)
                }
                None => Hint::from("choose a directory")
                    .with(Setting::StateDirectory)
                    .and(" that you can write to, with space for the decompressed archive"),
            },
            Self::TooLarge { .. } => Hint::raise(Setting::MaxSize),
            Self::NotAFile { .. } => return None,
        })
    }
}
