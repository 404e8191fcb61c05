//! Why two disk images cannot be compared.

use std::io;
use std::path::{Path, PathBuf};

use ext4::ReadError;

use layer::cancel::Cancelled;
use layer::failure::{ErrorKind, Failure, Hint};

/// A comparison that came to no end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffError {
    /// One of the disk images cannot be read.
    #[error("could not read {}", .image.display())]
    Image {
        /// Path of the disk image.
        image: PathBuf,
        /// Why not.
        #[source]
        reason: DiffReason,
    },
    /// Whoever is told of the differences does not take them.
    #[error("could not report a difference")]
    Report(#[source] io::Error),
    /// It was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
}

/// Why a disk image cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffReason {
    /// The file could not be opened or read.
    #[error(transparent)]
    File(#[from] io::Error),
    /// It is no ext4 file system, or a damaged or unknown one.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Blocks belong to more than one file, which would make much content of few bytes.
    #[error("blocks of it belong to more than one file")]
    SharedBlocks,
    /// A directory has more than one name.
    #[error("the directory at inode {ino} has two names")]
    SecondDirectory {
        /// Its number.
        ino: u32,
    },
    /// An inode has more names than it counts.
    #[error("inode {ino} has more names than links")]
    TooManyNames {
        /// Its number.
        ino: u32,
    },
    /// Directories in directories.
    #[error("a path of more than {max} bytes")]
    TooDeep {
        /// Longest path in bytes.
        max: usize,
    },
    /// Names of few inodes that lead to many inodes of the other image.
    #[error("too many names of the same files, which are files of their own in the other image")]
    TooManyLinks,
    /// Extended attributes that are all the same, in many inodes.
    #[error("more than {max} bytes of extended attributes")]
    TooManyXattrs {
        /// Most bytes, over all inodes.
        max: u64,
    },
}

impl DiffError {
    pub(super) fn new(image: &Path, reason: impl Into<DiffReason>) -> Self {
        Self::Image {
            image: image.to_owned(),
            reason: reason.into(),
        }
    }
}

impl Failure for DiffError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Image { reason, .. } => match reason {
                DiffReason::File(source) => source.kind().into(),
                DiffReason::Read(error) => error.kind(),
                _ => ErrorKind::Permanent,
            },
            Self::Report(source) => source.kind().into(),
            Self::Cancelled(_) => ErrorKind::Transient,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let Self::Image { reason, .. } = self else {
            return None;
        };
        match reason {
            DiffReason::Read(error @ (ReadError::NeedsRecovery | ReadError::FastCommits)) => error.hint(),
            DiffReason::Read(ReadError::NotExt4 | ReadError::Unsupported { .. } | ReadError::Input { .. })
            | DiffReason::File(_) => None,
            _ => Some("check the file system with e2fsck -fn".into()),
        }
    }
}
