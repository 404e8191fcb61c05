//! What can go wrong: in the tree, or while the image is written.

use std::fmt;
use std::io;

use crate::tree::{InodeId, MAX_LINKS};

/// A change that no POSIX tree can take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// A name of 0 or more than 255 bytes, `.`, `..`, or one that holds `/` or NUL.
    #[error("{:?} is no name: a name has 1 to 255 bytes, no '/' and no NUL, and is not '.' or '..'", String::from_utf8_lossy(.name))]
    InvalidName {
        /// The name as given.
        name: Vec<u8>,
    },
    /// An inode that was removed, or that belongs to another tree.
    #[error("the inode was removed, or belongs to another tree")]
    NoSuchInode {
        /// The identifier as given.
        id: InodeId,
    },
    /// An entry was looked up or put into an inode that is no directory.
    #[error("not a directory")]
    NotADirectory,
    /// The directory has an entry of that name already.
    #[error("the name exists already")]
    AlreadyExists,
    /// The directory has no entry of that name.
    #[error("no such name")]
    NotFound,
    /// A hard link to a directory.
    #[error("a directory cannot have hard links")]
    LinkToDirectory,
    /// More hard links than an inode can count.
    #[error("more than {MAX_LINKS} hard links to one file")]
    TooManyLinks,
    /// A symlink target of 0 or more than 4,095 bytes, or with a NUL.
    #[error("a symlink target of {len} bytes: it must have 1 to 4095 bytes and no NUL")]
    InvalidTarget {
        /// Length of the target in bytes.
        len: usize,
    },
    /// A device number beyond 12 bits of major or 20 bits of minor.
    #[error("device {major}:{minor}: a major number goes to 4095, a minor number to 1048575")]
    InvalidDevice {
        /// The major number.
        major: u32,
        /// The minor number.
        minor: u32,
    },
    /// An extended attribute's name of 0 or more than 255 bytes after its namespace, or with a NUL.
    #[error("{:?} is no name of an extended attribute", String::from_utf8_lossy(.name))]
    InvalidXattrName {
        /// The whole name as given.
        name: Vec<u8>,
    },
    /// More inodes than ext4 can number.
    #[error("more than 4294967295 inodes")]
    TooManyInodes,
}

/// An image that could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The content of a file could not be read; the image is not to blame.
    #[error("could not read the content")]
    Content(#[source] io::Error),
    /// The content of a file ended early.
    #[error("the content ends after {actual} of {expected} bytes")]
    ContentTooShort {
        /// Bytes announced.
        expected: u64,
        /// Bytes read.
        actual: u64,
    },
    /// Content that another formatter wrote: its blocks are in another image.
    #[error("{} was written by another formatter", content_of(path.as_deref()))]
    ForeignData {
        /// Path of the file in the image; `None` for content that no file of the tree has.
        path: Option<String>,
    },
    /// The data ranges of a sparse file overlap, are not ascending, or lie beyond its size.
    #[error(
        "data range {start}..{end} of a sparse file of {len} bytes overlaps another, is out of order or lies beyond the end"
    )]
    InvalidRange {
        /// First byte of the range.
        start: u64,
        /// The byte after the last.
        end: u64,
        /// Size of the file in bytes.
        len: u64,
    },
    /// A file of more than 2^32 - 1 blocks.
    #[error("a file of {len} bytes: with this block size it can have {max} at most")]
    FileTooLarge {
        /// Size of the file in bytes.
        len: u64,
        /// Largest size in bytes.
        max: u64,
    },
    /// The image could not be read or written.
    #[error("could not {action} the image at byte {offset}")]
    Image {
        /// What was tried.
        action: ImageAction,
        /// Where, in bytes from the start of the image.
        offset: u64,
        /// What the output said.
        #[source]
        source: io::Error,
    },
    /// The content does not fit the size that was asked for.
    #[error("the content needs an image of {needed} bytes, not {available}")]
    NoSpace {
        /// Smallest size in bytes, in whole MiB, that would hold it with the same options.
        needed: u64,
        /// Size in bytes that was asked for.
        available: u64,
    },
    /// A size that the group descriptors or the numbers of blocks do not reach.
    #[error("a file system of {size} bytes: with these options it can have {max} at most")]
    TooLarge {
        /// Size in bytes.
        size: u64,
        /// Largest size in bytes.
        max: u64,
    },
    /// A label of more than 16 bytes, or with a NUL.
    #[error("label {label:?}: it can have 16 bytes at most, and no NUL")]
    InvalidLabel {
        /// The label as given.
        label: String,
    },
    /// A file whose extended attributes fill more than the inode and one block, and whose values may not or cannot have
    /// inodes of their own: [`Options::large_xattrs`](crate::Options::large_xattrs) is off, a value has more than 64 KiB, or there
    /// are too many.
    #[error("the extended attributes of {path:?} need {needed} bytes and have {available}; the largest is {name:?}")]
    XattrsTooLarge {
        /// Path of the file in the image.
        path: String,
        /// Name of the largest attribute.
        name: String,
        /// Bytes that the attributes need.
        needed: usize,
        /// Bytes that an inode and a block hold.
        available: usize,
    },
    /// An extended attribute whose name is outside of the namespaces of Linux: only an inode can hold one, and it has no room.
    #[error("the extended attribute {name:?} of {path:?} is in no namespace of Linux, and has no room in the inode")]
    NoNamespace {
        /// Path of the file in the image.
        path: String,
        /// Name of the attribute.
        name: String,
    },
    /// A POSIX ACL that the `setxattr` system call would refuse, or one without entries, by which it removes what there is.
    #[error("the extended attribute {name:?} of {path:?} is no POSIX ACL: {reason}")]
    InvalidAcl {
        /// Path of the file in the image.
        path: String,
        /// Name of the attribute.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A directory of more names than the three levels of an index lead to, or its 28 bits for the number of a block: with blocks
    /// of 1 KiB, 5 million of the longest.
    #[error(
        "the names in the directory {path:?} fill {blocks} blocks; with this block size an index leads to {max} at most"
    )]
    DirectoryTooLarge {
        /// Path of the directory in the image.
        path: String,
        /// Blocks that its names fill.
        blocks: u64,
        /// Most blocks of names.
        max: u64,
    },
    /// A symlink target that does not fit into one block.
    #[error("the target of the symlink {path:?} has {len} bytes; with this block size it can have {max} at most")]
    SymlinkTooLong {
        /// Path of the symlink in the image.
        path: String,
        /// Length of the target in bytes.
        len: usize,
        /// Longest target in bytes.
        max: usize,
    },
}

/// Use of the image's [`Output`](crate::Output).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageAction {
    /// Reading bytes.
    Read,
    /// Writing bytes.
    Write,
    /// Making bytes read as zeros.
    Clear,
    /// Giving the image its size.
    Resize,
}

impl fmt::Display for ImageAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Clear => "clear",
            Self::Resize => "resize",
        })
    }
}

/// Names content in a message.
fn content_of(path: Option<&str>) -> String {
    path.map_or_else(|| "the content".to_owned(), |path| format!("the content of {path:?}"))
}
