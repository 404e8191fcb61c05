//! Changes that no tree can take.

use std::error::Error;
use std::fmt;

use super::{InodeId, MAX_LINKS};

/// A change that no POSIX tree can take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeError {
    /// A name of 0 or more than 255 bytes, `.`, `..`, or one that holds `/` or NUL.
    InvalidName {
        /// The name as given.
        name: Vec<u8>,
    },
    /// An inode that was removed, or that belongs to another tree.
    NoSuchInode {
        /// The identifier as given.
        id: InodeId,
    },
    /// An entry was looked up or put into an inode that is no directory.
    NotADirectory,
    /// The directory has an entry of that name already.
    AlreadyExists,
    /// The directory has no entry of that name.
    NotFound,
    /// A hard link to a directory.
    LinkToDirectory,
    /// More hard links than an inode can count.
    TooManyLinks,
    /// A symlink target of 0 or more than 4,095 bytes, or with a NUL.
    InvalidTarget {
        /// Length of the target in bytes.
        len: usize,
    },
    /// A device number beyond 12 bits of major or 20 bits of minor.
    InvalidDevice {
        /// The major number.
        major: u32,
        /// The minor number.
        minor: u32,
    },
    /// An extended attribute's name of 0 or more than 255 bytes after its namespace, or with a NUL.
    InvalidXattrName {
        /// The whole name as given.
        name: Vec<u8>,
    },
    /// More inodes than ext4 can number.
    TooManyInodes,
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName { name } => write!(
                f,
                "{:?} is no name: a name has 1 to 255 bytes, no '/' and no NUL, and is not '.' or '..'",
                String::from_utf8_lossy(name)
            ),
            Self::NoSuchInode { .. } => f.write_str("the inode was removed, or belongs to another tree"),
            Self::NotADirectory => f.write_str("not a directory"),
            Self::AlreadyExists => f.write_str("the name exists already"),
            Self::NotFound => f.write_str("no such name"),
            Self::LinkToDirectory => f.write_str("a directory cannot have hard links"),
            Self::TooManyLinks => write!(f, "more than {MAX_LINKS} hard links to one file"),
            Self::InvalidTarget { len } => write!(
                f,
                "a symlink target of {len} bytes: it must have 1 to 4095 bytes and no NUL"
            ),
            Self::InvalidDevice { major, minor } => write!(
                f,
                "device {major}:{minor}: a major number goes to 4095, a minor number to 1048575"
            ),
            Self::InvalidXattrName { name } => write!(
                f,
                "{:?} is no name of an extended attribute",
                String::from_utf8_lossy(name)
            ),
            Self::TooManyInodes => f.write_str("more than 4294967295 inodes"),
        }
    }
}

impl Error for TreeError {}
