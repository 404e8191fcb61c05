//! Errors of a comparison.

use std::io;
use std::path::{Path, PathBuf};

use ext4::ReadError;

use layer::cancel::Cancelled;
use layer::failure::{ErrorKind, Failure, Hint};

/// Error of a comparison.
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
    /// The caller's function for differences failed.
    #[error("could not report a difference")]
    Report(#[source] io::Error),
    /// The comparison was cancelled.
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
    /// The file is not an ext4 file system, or its file system is damaged or unsupported.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Blocks belong to more than one file, so that a few bytes would make much content.
    #[error("blocks of the image belong to more than one file")]
    SharedBlocks,
    /// A directory has more than one name, which ext4 forbids.
    #[error("the directory at inode {ino} has two names")]
    SecondDirectory {
        /// Inode number of the directory.
        ino: u32,
    },
    /// An inode has more names than its link count.
    #[error("inode {ino} has more names than its link count")]
    TooManyNames {
        /// Inode number.
        ino: u32,
    },
    /// Directories are nested too deeply.
    #[error("a path is longer than {max} bytes")]
    TooDeep {
        /// Limit on the length of a path in bytes.
        max: usize,
    },
    /// Hard links of a few inodes correspond to many inodes of the other image.
    #[error("too many hard links that are separate files in the other image")]
    TooManyLinks,
    /// The extended attributes of all inodes together are too large.
    #[error("more than {max} bytes of extended attributes")]
    XattrsTooLarge {
        /// Limit in bytes, over all inodes.
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
