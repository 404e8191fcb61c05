//! Entries of directories: their kind, size, time and identity.

use std::fmt;
use std::fs::{File, FileType};
use std::io;
use std::time::SystemTime;

/// Metadata of an entry of a directory; of a symlink, its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry {
    /// Kind of the entry.
    pub kind: EntryKind,
    /// Size in bytes.
    pub len: u64,
    /// Time of the last change of its content.
    pub modified: SystemTime,
    /// Identity of the entry.
    pub identity: Identity,
}

/// Identity of a file or directory: its device and inode number, which no other one has at the same
/// time. On Windows, which does not report them, all identities are equal.
#[cfg(unix)]
#[derive(Debug, Clone, Copy)]
pub struct Identity(pub(super) rustix::fs::Stat);

/// Identity of a file or directory. This system does not report one, so all identities are equal.
#[cfg(not(unix))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity;

impl Identity {
    /// Returns the identity of an open file.
    ///
    /// # Errors
    ///
    /// Those of fstat(2).
    #[cfg(unix)]
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self(rustix::fs::fstat(file)?))
    }

    /// Returns the identity of an open file.
    ///
    /// # Errors
    ///
    /// None.
    #[cfg(not(unix))]
    pub fn of(_file: &File) -> io::Result<Self> {
        Ok(Self)
    }
}

#[cfg(unix)]
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        (self.0.st_dev, self.0.st_ino) == (other.0.st_dev, other.0.st_ino)
    }
}

/// Kind of an entry of a directory of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symlink.
    Symlink,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A kind that only this system has.
    Other,
}

impl EntryKind {
    /// Returns the kind of a file.
    #[must_use]
    pub fn from_file_type(file_type: FileType) -> Self {
        #[cfg(unix)]
        {
            use std::os::unix::fs::FileTypeExt;
            if file_type.is_block_device() {
                return Self::BlockDevice;
            }
            if file_type.is_char_device() {
                return Self::CharDevice;
            }
            if file_type.is_fifo() {
                return Self::Fifo;
            }
            if file_type.is_socket() {
                return Self::Socket;
            }
        }
        if file_type.is_file() {
            Self::File
        } else if file_type.is_dir() {
            Self::Directory
        } else if file_type.is_symlink() {
            Self::Symlink
        } else {
            Self::Other
        }
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::BlockDevice | Self::CharDevice => "device",
            Self::Fifo => "FIFO",
            Self::Socket => "socket",
            Self::Other => "special file",
        })
    }
}
