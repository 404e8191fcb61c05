//! [`TreeError`]: changes that a POSIX tree does not allow.

use std::error::Error;
use std::fmt;

use super::{InodeId, MAX_LINKS};

/// A change that a POSIX tree does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeError {
    /// A name has 0 or more than 255 bytes, is `.` or `..`, or contains `/` or NUL.
    InvalidName {
        /// The name as given.
        name: Vec<u8>,
    },
    /// An inode was removed, or belongs to another tree.
    NoSuchInode {
        /// The identifier as given.
        id: InodeId,
    },
    /// The inode is not a directory, and an entry was to be found or created in it.
    NotADirectory,
    /// The directory already has an entry of this name.
    AlreadyExists,
    /// The directory has no entry of this name.
    NotFound,
    /// A directory cannot have hard links.
    LinkToDirectory,
    /// A file has [`MAX_LINKS`] hard links already.
    TooManyLinks,
    /// A symlink target has 0 or more than 4,095 bytes, or contains a NUL.
    InvalidTarget {
        /// Length of the target in bytes.
        len: usize,
    },
    /// A device number has a major number of more than 12 bits, or a minor number of more than 20.
    InvalidDevice {
        /// The major number.
        major: u32,
        /// The minor number.
        minor: u32,
    },
    /// The name of an extended attribute has 0 or more than 255 bytes, or contains a NUL.
    InvalidXattrName {
        /// The whole name as given.
        name: Vec<u8>,
    },
    /// The tree has more inodes than ext4 can number.
    TooManyInodes,
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName { name } => write!(
                f,
                "{:?} is not a valid name: a name has 1 to 255 bytes, no '/' and no NUL, and is not '.' or '..'",
                String::from_utf8_lossy(name)
            ),
            Self::NoSuchInode { .. } => f.write_str("the inode was removed, or belongs to another tree"),
            Self::NotADirectory => f.write_str("not a directory"),
            Self::AlreadyExists => f.write_str("the name already exists"),
            Self::NotFound => f.write_str("name not found"),
            Self::LinkToDirectory => f.write_str("a directory cannot have hard links"),
            Self::TooManyLinks => write!(f, "more than {MAX_LINKS} hard links to one file"),
            Self::InvalidTarget { len } => write!(
                f,
                "invalid symlink target of {len} bytes: it must have 1 to 4095 bytes and no NUL"
            ),
            Self::InvalidDevice { major, minor } => write!(
                f,
                "invalid device {major}:{minor}: the largest major number is 4095, the largest minor number 1048575"
            ),
            Self::InvalidXattrName { name } => write!(
                f,
                "{:?} is not a valid name of an extended attribute: it must have 1 to 255 bytes and no NUL",
                String::from_utf8_lossy(name)
            ),
            Self::TooManyInodes => f.write_str("more than 4294967295 inodes"),
        }
    }
}

impl Error for TreeError {}
