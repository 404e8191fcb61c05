//! Errors of the blob store.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::digest::Digest;
use crate::host::{Untrusted, end_lock_holder_hint, io_error_kind};
use layer::failure::{ErrorKind, Failure, Hint, Setting};

/// Failure to read or write the blob store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file or directory of the store could not be read.
    #[error("could not read {} in the blob store", .path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Cause of the failure.
        #[source]
        source: io::Error,
    },
    /// A file or directory of the store could not be written or removed.
    #[error("could not write {} in the blob store", .path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Cause of the failure.
        #[source]
        source: io::Error,
    },
    /// A lock could not be taken.
    #[error("could not lock {} in the blob store", .path.display())]
    Lock {
        /// The file that is locked.
        path: PathBuf,
        /// Cause of the failure.
        #[source]
        source: io::Error,
    },
    /// The state directory, or an entry of it, belongs to another user, can be changed by others,
    /// or is of the wrong kind. Its content was not used.
    #[error("refused to use {}, where downloads are kept", .path.display())]
    Refused {
        /// The file or directory.
        path: PathBuf,
        /// Reason, with owner and mode.
        #[source]
        source: io::Error,
    },
    /// Another process held a lock without downloading anything.
    #[error(
        "gave up waiting for {}, which another build has held for {} minutes without downloading anything",
        .path.display(),
        .waited.as_secs().div_ceil(60)
    )]
    Held {
        /// The file that is locked.
        path: PathBuf,
        /// Time since anything was downloaded.
        waited: Duration,
    },
    /// A resumed download has the wrong digest. Its file is removed.
    #[error("the beginning of {digest} from an earlier download was damaged, and has been removed")]
    Damaged {
        /// The digest of the blob.
        digest: Digest,
    },
}

impl StoreError {
    pub(super) fn read(path: PathBuf, source: io::Error) -> Self {
        match Untrusted::from_error(&source) {
            Some(_) => Self::Refused { path, source },
            None => Self::Read { path, source },
        }
    }

    pub(super) fn write(path: PathBuf, source: io::Error) -> Self {
        match Untrusted::from_error(&source) {
            Some(_) => Self::Refused { path, source },
            None => Self::Write { path, source },
        }
    }

    pub(super) fn lock(path: PathBuf, source: io::Error) -> Self {
        match Untrusted::from_error(&source) {
            Some(_) => Self::Refused { path, source },
            None => Self::Lock { path, source },
        }
    }
}

impl Failure for StoreError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::Lock { source, .. }
            | Self::Refused { source, .. } => io_error_kind(source),
            Self::Held { .. } | Self::Damaged { .. } => ErrorKind::Transient,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let own = Hint::from("use a directory of your own").with(Setting::StateDirectory);
        Some(match self {
            Self::Damaged { .. } => Hint::again(),
            Self::Refused { path, source } => Untrusted::from_error(source)?.hint(path, own),
            Self::Held { path, .. } => end_lock_holder_hint(path, own),
            Self::Read { .. } | Self::Write { .. } | Self::Lock { .. } => Hint::from("choose a directory")
                .with(Setting::StateDirectory)
                .and(" that you can write to, with space for the layers"),
        })
    }
}
