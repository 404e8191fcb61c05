//! Errors of writing an image.

use std::error::Error;
use std::{fmt, io};

/// An image that could not be written.
#[derive(Debug)]
#[non_exhaustive]
pub enum FormatError {
    /// The content of a file could not be read; the image is not to blame.
    Content(io::Error),
    /// The content of a file ended early.
    ContentTooShort {
        /// Bytes announced.
        expected: u64,
        /// Bytes read.
        actual: u64,
    },
    /// Content that another formatter wrote: its blocks are in another image.
    ForeignData {
        /// Path of the file in the image; `None` for content that no file of the tree has.
        path: Option<String>,
    },
    /// The data ranges of a sparse file overlap, are not ascending, or lie beyond its size.
    InvalidRange {
        /// First byte of the range.
        start: u64,
        /// The byte after the last.
        end: u64,
        /// Size of the file in bytes.
        len: u64,
    },
    /// A file of more than 2^32 - 1 blocks.
    FileTooLarge {
        /// Size of the file in bytes.
        len: u64,
        /// Largest size in bytes.
        max: u64,
    },
    /// The image could not be read or written.
    Image {
        /// The use of the output that failed.
        action: ImageAction,
        /// Where, in bytes from the start of the image.
        offset: u64,
        /// What the output said.
        source: io::Error,
    },
    /// The content does not fit the size that was asked for, or the output.
    NoSpace {
        /// Smallest size in bytes, in whole MiB, that would hold it with the same options. An
        /// output of a fixed size has to hold also what is freed later, while it is there.
        needed: u64,
        /// Size in bytes that was asked for, or the size of the output if that is less.
        available: u64,
    },
    /// A fixed size that the output cannot hold.
    OutputTooSmall {
        /// Size in bytes that was asked for.
        size: u64,
        /// Size of the output in bytes.
        available: u64,
    },
    /// A block device that was given as a [`File`](std::fs::File), which it is not: its size cannot
    /// change. [`DeviceOutput`](crate::DeviceOutput) takes one.
    IsDevice,
    /// A size that the group descriptors or the numbers of blocks do not reach.
    TooLarge {
        /// Size in bytes.
        size: u64,
        /// Largest size in bytes.
        max: u64,
    },
    /// A label of more than 16 bytes, or with a NUL.
    InvalidLabel {
        /// The label as given.
        label: String,
    },
    /// A file whose extended attributes fill more than the inode and one block, and whose values may not or cannot have
    /// inodes of their own: [`Options::large_xattrs`](crate::Options::large_xattrs) is off, a value has more than 64 KiB, or there
    /// are too many.
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
    NoNamespace {
        /// Path of the file in the image.
        path: String,
        /// Name of the attribute.
        name: String,
    },
    /// A POSIX ACL that the `setxattr` system call would refuse, or one without entries, by which it removes what there is.
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
    DirectoryTooLarge {
        /// Path of the directory in the image.
        path: String,
        /// Blocks that its names fill.
        blocks: u64,
        /// Most blocks of names.
        max: u64,
    },
    /// A symlink target that does not fit into one block.
    SymlinkTooLong {
        /// Path of the symlink in the image.
        path: String,
        /// Length of the target in bytes.
        len: usize,
        /// Longest target in bytes.
        max: usize,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content(_) => f.write_str("could not read the content"),
            Self::ContentTooShort { expected, actual } => {
                write!(f, "the content ends after {actual} of {expected} bytes")
            }
            Self::ForeignData { path: None } => f.write_str("the content was written by another formatter"),
            Self::ForeignData { path: Some(path) } => {
                write!(f, "the content of {path:?} was written by another formatter")
            }
            Self::InvalidRange { start, end, len } => write!(
                f,
                "data range {start}..{end} of a sparse file of {len} bytes overlaps another, \
                 is out of order or lies beyond the end"
            ),
            Self::FileTooLarge { len, max } => write!(
                f,
                "a file of {len} bytes: with this block size it can have {max} at most"
            ),
            Self::Image { action, offset, .. } => write!(f, "could not {action} the image at byte {offset}"),
            Self::NoSpace { needed, available } => {
                write!(f, "the content needs an image of {needed} bytes, not {available}")
            }
            Self::OutputTooSmall { size, available } => write!(
                f,
                "a file system of {size} bytes does not fit the output, which holds {available}"
            ),
            Self::IsDevice => f.write_str(
                "could not resize the output: it is a block device, whose size is fixed, and not a regular file",
            ),
            Self::TooLarge { size, max } => write!(
                f,
                "a file system of {size} bytes: with these options it can have {max} at most"
            ),
            Self::InvalidLabel { label } => write!(f, "label {label:?}: it can have 16 bytes at most, and no NUL"),
            Self::XattrsTooLarge {
                path,
                name,
                needed,
                available,
            } => write!(
                f,
                "the extended attributes of {path:?} need {needed} bytes and have {available}; the largest is {name:?}"
            ),
            Self::NoNamespace { path, name } => write!(
                f,
                "the extended attribute {name:?} of {path:?} is in no namespace of Linux, and has no room in the inode"
            ),
            Self::InvalidAcl { path, name, reason } => write!(
                f,
                "the extended attribute {name:?} of {path:?} is no POSIX ACL: {reason}"
            ),
            Self::DirectoryTooLarge { path, blocks, max } => write!(
                f,
                "the names in the directory {path:?} fill {blocks} blocks; \
                 with this block size an index leads to {max} at most"
            ),
            Self::SymlinkTooLong { path, len, max } => write!(
                f,
                "the target of the symlink {path:?} has {len} bytes; with this block size it can have {max} at most"
            ),
        }
    }
}

impl Error for FormatError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Content(source) | Self::Image { source, .. } => Some(source),
            _ => None,
        }
    }
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
    Discard,
    /// Giving the image its size.
    Resize,
}

impl fmt::Display for ImageAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Discard => "discard a range of",
            Self::Resize => "resize",
        })
    }
}
