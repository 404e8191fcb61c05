//! Refusals of files and directories that another user owns or can change, or that are of the wrong
//! kind.

use std::io;
use std::path::{Path, PathBuf};

use super::EntryKind;
use layer::failure::{ErrorKind, Hint};

/// Reason why a file or directory is not used although the system would allow it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// The entry is not a regular file.
    #[error("it is a {0}, not a regular file")]
    NotAFile(EntryKind),
    /// The entry is a symlink in place of a file or directory.
    #[error("it is a symlink, which is not followed")]
    Symlink,
    /// The file or directory belongs to another user.
    #[error("it belongs to user {owner} (mode {mode:04o}), not to user {user} who runs this")]
    Owner {
        /// Its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
        /// The effective user of this process.
        user: u32,
    },
    /// The permission bits let other users change the file or directory.
    #[error("it can be changed by other users (mode {mode:04o}, of user {owner})")]
    Writable {
        /// Its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// The path leads through a symlink of another user. Only checked on Linux, which has
    /// descriptors of symlinks.
    #[error("it is reached through the symlink {} of user {owner}, which is not followed", .link.display())]
    Link {
        /// The symlink.
        link: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Another file or directory has the name when it is checked again.
    #[error("it was replaced by somebody else meanwhile")]
    Replaced,
}

impl Untrusted {
    /// Returns the refusal that an error wraps; `None` for any other error.
    #[must_use]
    pub fn from_error(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Returns advice on a refused output, which can be written elsewhere.
    #[must_use]
    pub fn output_hint(&self) -> Option<Hint> {
        match self {
            Self::Link { .. } => Some("use the path that the symlink leads to, or a directory of your own".into()),
            Self::Owner { .. } | Self::Writable { .. } | Self::Symlink | Self::Replaced => {
                Some("use a path in a directory that only you can write to".into())
            }
            Self::NotAFile(_) => None,
        }
    }

    /// Returns advice on a refused file or directory whose content matters to the user. `instead`
    /// is the advice to use another one, and becomes a part of the result.
    #[must_use]
    pub fn hint(&self, path: &Path, instead: Hint) -> Hint {
        const STICKY: u32 = 0o1000;
        let path = path.display();
        match self {
            Self::Owner { user, .. } => instead.and(format!(
                ", or, if you trust what is in it, take it over: chown -R {user} {path}; under sudo, the home directory \
                 may be that of another user, which sudo -H changes"
            )),
            Self::Writable { mode, .. } if mode & STICKY != 0 => instead.and(", which other users do not share"),
            Self::Writable { .. } => {
                Hint::from(format!("remove the write permission of other users: chmod go-w {path}; or ")).and(instead)
            }
            Self::NotAFile(_) | Self::Symlink => Hint::from(format!("remove {path}, or ")).and(instead),
            Self::Link { link, .. } => instead.and(format!(", by a path without {}", link.display())),
            Self::Replaced => Hint::again(),
        }
    }
}

/// Returns the kind of an I/O error, which may wrap a refusal.
#[must_use]
pub fn io_error_kind(error: &io::Error) -> ErrorKind {
    match Untrusted::from_error(error) {
        Some(Untrusted::Owner { .. } | Untrusted::Writable { .. } | Untrusted::Link { .. } | Untrusted::Symlink) => {
            ErrorKind::PolicyDenied
        }
        Some(Untrusted::Replaced) => ErrorKind::Conflict,
        Some(Untrusted::NotAFile(_)) | None => error.kind().into(),
    }
}

impl From<Untrusted> for io::Error {
    fn from(refusal: Untrusted) -> Self {
        let kind = match &refusal {
            Untrusted::NotAFile(EntryKind::Directory) => io::ErrorKind::IsADirectory,
            Untrusted::NotAFile(_) | Untrusted::Symlink => io::ErrorKind::InvalidInput,
            Untrusted::Owner { .. } | Untrusted::Writable { .. } | Untrusted::Link { .. } => {
                io::ErrorKind::PermissionDenied
            }
            Untrusted::Replaced => io::ErrorKind::Other,
        };
        Self::new(kind, refusal)
    }
}
