//! Why e2fsprogs makes no such image.

use std::io;
use std::path::{Path, PathBuf};

use ext4::ReadError;

use crate::error::ErrorKind;
use crate::stage::StageReason;
use layer::cancel::Cancelled;

/// An image that e2fsprogs did not make, or not as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Mke2fsError {
    /// A system whose files cannot stand in for those of an image.
    #[error("mke2fs cannot be used on this system, which has no symlinks and special files for it to pick up")]
    Platform,
    /// A program is not there, or cannot be run.
    #[error("could not run {}", .program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no debugfs or e2fsck to put right what mke2fs makes.
    #[error("there is no {missing} beside {}, and none in PATH", .mke2fs.display())]
    Missing {
        /// The program that is needed, too.
        missing: &'static str,
        /// The program that was asked for.
        mke2fs: PathBuf,
    },
    /// A program failed.
    #[error("{} failed, {status}: {message}", .program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// How it ended: `exit status: 1`.
        status: String,
        /// What it said.
        message: String,
    },
    /// The image is not what it should be.
    #[error("what e2fsprogs made differs from the image at {path:?}: {what}{said}")]
    Different {
        /// Path in the image.
        path: String,
        /// How.
        what: &'static str,
        /// What debugfs said meanwhile, if anything.
        said: String,
    },
    /// One of the two images could not be read.
    #[error("could not read an image that is being built")]
    Read(#[from] ReadError),
    /// Files for mke2fs to pick up could not be made.
    #[error("could not make the files that mke2fs is to pick up")]
    Stage(#[from] StageReason),
    /// A temporary file could not be used.
    #[error("could not {action} {}", .path.display())]
    Work {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
}

impl Mke2fsError {
    pub(super) fn different(path: &[u8], what: &'static str) -> Self {
        Self::Different {
            path: format!("/{}", String::from_utf8_lossy(path)),
            what,
            said: String::new(),
        }
    }

    /// Adds to a difference what may be its cause.
    pub(super) fn explained_by(mut self, message: &str) -> Self {
        if let Self::Different { said, .. } = &mut self
            && !message.is_empty()
        {
            *said = format!("; debugfs said: {message}");
        }
        self
    }

    /// What kind of failure it is, by its type alone.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Platform | Self::Different { .. } => ErrorKind::Unsupported,
            Self::Run { source, .. } | Self::Work { source, .. } => source.into(),
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Failed { .. } => ErrorKind::Permanent,
            Self::Read(error) => error.into(),
            Self::Stage(reason) => reason.kind(),
            Self::Cancelled(_) => ErrorKind::Transient,
        }
    }
}

pub(super) fn working(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Mke2fsError {
    move |source| Mke2fsError::Work {
        action,
        path: path.to_owned(),
        source,
    }
}
