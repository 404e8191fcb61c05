//! Types of the fields of [`Problem`](super::Problem)s that have a few values.

use std::error::Error;
use std::fmt;

/// Reason why a check ended early. Without limits, an image of a few bytes could make it take any
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// More than 1,000 group descriptors are damaged.
    DamagedDescriptors,
    /// More than 1,000 groups have bitmaps or inode tables in invalid places.
    MisplacedGroups,
    /// More than 1,000 blocks are zeros where other content is required.
    ZeroBlocks,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DamagedDescriptors => f.write_str("too many group descriptors are damaged"),
            Self::MisplacedGroups => f.write_str("too many groups have misplaced bitmaps or inode tables"),
            Self::ZeroBlocks => f.write_str("too many blocks are zeros where other content is required"),
        }
    }
}

impl Error for StopReason {}

/// Property of an inode that requires a feature of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum InodeFeature {
    /// An extent tree (`extent`).
    Extents,
    /// Content in the inode (`inline_data`).
    InlineData,
    /// Content that is the value of an attribute (`ea_inode`).
    XattrValue,
    /// A block of attributes (`ext_attr`).
    XattrBlock,
    /// Encrypted content or names (`encrypt`).
    Encryption,
    /// Case-insensitive names (`casefold`).
    Casefold,
    /// A file of 2 GiB or more (`large_file`).
    LargeFile {
        /// Its size in bytes.
        size: u64,
    },
    /// A directory of more than 2 GiB (`large_dir`).
    LargeDirectory {
        /// Its size in bytes.
        size: u64,
    },
}

impl fmt::Display for InodeFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Extents => f.write_str("it has extents"),
            Self::InlineData => f.write_str("it has inline data"),
            Self::XattrValue => f.write_str("it holds the value of an attribute"),
            Self::XattrBlock => f.write_str("it has a block of attributes"),
            Self::Encryption => f.write_str("it is encrypted"),
            Self::Casefold => f.write_str("its names are case-insensitive"),
            Self::LargeFile { size } => write!(f, "it is a file of {size} bytes"),
            Self::LargeDirectory { size } => write!(f, "it is a directory of {size} bytes"),
        }
    }
}

impl Error for InodeFeature {}

/// Fault of a quota file. Blocks are those of the file, of 1 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "fields are block numbers, or have telling names")]
#[non_exhaustive]
pub enum QuotaProblem {
    /// The inode is not a regular file.
    NotFile,
    /// The header has a wrong magic number or version.
    HeaderWrong,
    /// The header counts more blocks than the file has, or has no block for the tree.
    BlockCountWrong { found: u32, available: u64 },
    /// The header refers to a free block beyond the end of the file.
    FreeBlockOutside,
    /// A node of the tree is empty.
    NodeEmpty { block: u32 },
    /// A node of the tree refers to a block beyond the end of the file.
    BlockOutside { node: u32, block: u32 },
    /// The tree refers to a node twice.
    NodeTwice { block: u32 },
    /// The tree refers to a block of entries more often than it has entries.
    LeafTooOften { block: u32 },
    /// The tree refers to a block of entries less often than it has entries.
    EntriesUnreached { block: u32 },
    /// The header of a block of entries has a wrong number of entries or refers to a block beyond
    /// the end of the file.
    LeafHeaderWrong { block: u32, entries: u16 },
    /// The tree refers to a block without an entry for that user, group or project.
    EntryMissing { block: u32, id: u32 },
}

impl fmt::Display for QuotaProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFile => f.write_str("it is not a regular file"),
            Self::HeaderWrong => f.write_str("its header has a wrong magic number or version"),
            Self::BlockCountWrong { found, available } => {
                write!(f, "its header counts {found} blocks, the file has {available}")
            }
            Self::FreeBlockOutside => f.write_str("its header refers to a free block beyond its end"),
            Self::NodeEmpty { block } => write!(f, "node {block} of its tree is empty"),
            Self::BlockOutside { node, block } => {
                write!(f, "node {node} of its tree refers to block {block}, beyond its end")
            }
            Self::NodeTwice { block } => write!(f, "its tree refers to node {block} twice"),
            Self::LeafTooOften { block } => {
                write!(f, "its tree refers to block {block} more often than it has entries")
            }
            Self::EntriesUnreached { block } => write!(f, "its tree does not refer to all entries of block {block}"),
            Self::LeafHeaderWrong { block, entries } => {
                write!(f, "the header of block {block}, which has {entries} entries, is wrong")
            }
            Self::EntryMissing { block, id } => {
                write!(
                    f,
                    "its tree refers to block {block} for ID {id}, which has no entry there"
                )
            }
        }
    }
}

impl Error for QuotaProblem {}

/// Object that each bit of a bitmap stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BitmapUnit {
    /// A block.
    Block,
    /// An inode.
    Inode,
}

impl fmt::Display for BitmapUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Block => "block",
            Self::Inode => "inode",
        })
    }
}
