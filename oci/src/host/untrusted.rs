//! Refusals: what another user made or could change, and what is not what it has to be.

use std::io;
use std::path::PathBuf;

use super::EntryKind;

/// A file or directory that is not used, although the system would allow it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(unix), expect(dead_code, reason = "Unix has more to refuse"))]
pub enum Untrusted {
    /// Something else where a regular file has to be.
    #[error("it is a {0}, not a regular file")]
    NotAFile(EntryKind),
    /// A symlink where a file or directory has to be.
    #[error("it is a symlink, which is not followed")]
    Symlink,
    /// Another user's.
    #[error("it belongs to user {owner} (mode {mode:04o}), not to user {user} who runs this")]
    Owner {
        /// Its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
        /// The effective user of this process.
        user: u32,
    },
    /// Open to changes by others.
    #[error("it can be changed by other users (mode {mode:04o}, of user {owner})")]
    Writable {
        /// Its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// A symlink of another user on the way. Linux alone tells whose it is.
    #[cfg_attr(all(unix, not(target_os = "linux")), expect(dead_code))]
    #[error("it is reached through the symlink {} of user {owner}, which is not followed", .link.display())]
    Link {
        /// The symlink.
        link: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Something else by the time that it was looked at again.
    #[error("it was replaced by somebody else meanwhile")]
    Replaced,
}

impl Untrusted {
    /// Returns the refusal that an error stands for, if it is one.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
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
