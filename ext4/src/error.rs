//! [`FormatError`]: why an image could not be written.

use std::error::Error;
use std::{fmt, io};

/// Failure to write an image.
#[derive(Debug)]
#[non_exhaustive]
pub enum FormatError {
    /// The content of a file could not be read. The output is not at fault.
    Content(io::Error),
    /// The content of a file ended early.
    ContentTooShort {
        /// Length in bytes that the caller announced.
        expected: u64,
        /// Number of bytes read.
        actual: u64,
    },
    /// Content was written by another formatter: its blocks are in another image.
    ForeignData {
        /// Path of the file in the image; `None` for content that was freed.
        path: Option<String>,
    },
    /// The data ranges of a sparse file overlap, are not ascending, or lie beyond its size.
    InvalidRange {
        /// First byte of the range.
        start: u64,
        /// The byte after the last one of the range.
        end: u64,
        /// Size of the file in bytes.
        len: u64,
    },
    /// A file has more than 2^32 - 1 blocks.
    FileTooLarge {
        /// Size of the file in bytes.
        len: u64,
        /// Largest size in bytes.
        max: u64,
    },
    /// The output failed.
    Image {
        /// Operation on the output that failed.
        action: ImageAction,
        /// Offset of the operation in bytes from the start of the image.
        offset: u64,
        /// Error of the output.
        source: io::Error,
    },
    /// The content does not fit the requested size, or the output.
    NoSpace {
        /// Smallest size in bytes, in whole MiB, that holds the content with the same options. For
        /// an output of a fixed size, this includes content that is freed later, which the output
        /// holds until then.
        needed: u64,
        /// Requested size in bytes, or the size of the output if that is smaller.
        available: u64,
    },
    /// The requested size exceeds the size of the output.
    OutputTooSmall {
        /// Requested size in bytes.
        size: u64,
        /// Size of the output in bytes.
        available: u64,
    },
    /// A block device was passed as a [`File`](std::fs::File), whose size must be changeable. Use
    /// [`DeviceOutput`](crate::DeviceOutput) for devices.
    IsDevice,
    /// The requested size is larger than the group descriptors or block numbers allow.
    TooLarge {
        /// Requested size in bytes.
        size: u64,
        /// Largest size in bytes.
        max: u64,
    },
    /// A label has more than 16 bytes, or contains a NUL.
    InvalidLabel {
        /// The label as given.
        label: String,
    },
    /// The extended attributes of a file exceed the inode and one block, and moving values to
    /// attribute inodes is not allowed or does not suffice:
    /// [`Options::large_xattrs`](crate::Options::large_xattrs) is off, a value has more than 64
    /// KiB, or there are too many attributes.
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
    /// The name of an extended attribute is outside of the namespaces of Linux. It can only be
    /// stored in the inode, where it does not fit.
    NoNamespace {
        /// Path of the file in the image.
        path: String,
        /// Name of the attribute.
        name: String,
    },
    /// A POSIX ACL is one that the `setxattr` system call refuses, or has no entries, with which
    /// that call removes the ACL.
    InvalidAcl {
        /// Path of the file in the image.
        path: String,
        /// Name of the attribute.
        name: String,
        /// Why the ACL is invalid.
        reason: &'static str,
    },
    /// A directory has more names than an index of three levels with block numbers of 28 bits can
    /// reach: with blocks of 1 KiB, 5 million names of the greatest length.
    DirectoryTooLarge {
        /// Path of the directory in the image.
        path: String,
        /// Number of blocks that its names fill.
        blocks: u64,
        /// Maximum number of blocks of names.
        max: u64,
    },
    /// A symlink target does not fit into one block.
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
                "a file of {len} bytes is too large: at most {max} bytes with this block size"
            ),
            Self::Image { action, offset, .. } => write!(f, "could not {action} the image at byte {offset}"),
            Self::NoSpace { needed, available } => {
                write!(
                    f,
                    "not enough space: the content needs an image of {needed} bytes, but only {available} bytes are available"
                )
            }
            Self::OutputTooSmall { size, available } => write!(
                f,
                "a file system of {size} bytes does not fit the output of {available} bytes"
            ),
            Self::IsDevice => f.write_str(
                "could not resize the output: it is a block device, whose size is fixed, and not a regular file",
            ),
            Self::TooLarge { size, max } => write!(
                f,
                "a file system of {size} bytes is too large: at most {max} bytes with these options"
            ),
            Self::InvalidLabel { label } => write!(f, "invalid label {label:?}: at most 16 bytes, and no NUL"),
            Self::XattrsTooLarge {
                path,
                name,
                needed,
                available,
            } => write!(
                f,
                "the extended attributes of {path:?} need {needed} bytes, but only {available} are available; \
                 the largest is {name:?}"
            ),
            Self::NoNamespace { path, name } => write!(
                f,
                "the extended attribute {name:?} of {path:?} has no namespace that Linux knows, \
                 and does not fit in the inode"
            ),
            Self::InvalidAcl { path, name, reason } => write!(
                f,
                "the extended attribute {name:?} of {path:?} is not a valid POSIX ACL: {reason}"
            ),
            Self::DirectoryTooLarge { path, blocks, max } => write!(
                f,
                "the names in the directory {path:?} fill {blocks} blocks: at most {max} with this block size"
            ),
            Self::SymlinkTooLong { path, len, max } => write!(
                f,
                "the target of the symlink {path:?} has {len} bytes: at most {max} with this block size"
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

/// Operation on the [`Output`](crate::Output) of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageAction {
    /// Read bytes.
    Read,
    /// Write bytes.
    Write,
    /// Make a range read as zeros.
    Discard,
    /// Set the size.
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
