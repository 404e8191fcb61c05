//! Fields of problems that are one of a few.

use std::error::Error;
use std::fmt;

/// Why a check ended early: an image of few bytes could make it take any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// More than 1,000 group descriptors are damaged.
    DamagedDescriptors,
    /// Bitmaps or tables of more than 1,000 groups are not where they can be.
    MisplacedGroups,
    /// More than 1,000 blocks that should hold something are zeros.
    ZeroBlocks,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DamagedDescriptors => f.write_str("so many group descriptors are damaged"),
            Self::MisplacedGroups => f.write_str("the bitmaps and tables of so many groups cannot be where they are"),
            Self::ZeroBlocks => f.write_str("so many blocks that it leads to are zeros"),
        }
    }
}

impl Error for StopReason {}

/// A property of an inode that takes a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum InodeFeature {
    /// An extent tree (`extent`).
    Extents,
    /// Content in the inode (`inline_data`).
    InlineData,
    /// The value of an attribute as content (`ea_inode`).
    XattrValue,
    /// A block of attributes (`ext_attr`).
    XattrBlock,
    /// Encrypted content or names (`encrypt`).
    Encryption,
    /// Parents whose case does not matter (`casefold`).
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
            Self::XattrValue => f.write_str("it has the value of an attribute"),
            Self::XattrBlock => f.write_str("it has a block of attributes"),
            Self::Encryption => f.write_str("it is encrypted"),
            Self::Casefold => f.write_str("its names are without case"),
            Self::LargeFile { size } => write!(f, "it is a large file, of {size} bytes"),
            Self::LargeDirectory { size } => write!(f, "it is a large directory, of {size} bytes"),
        }
    }
}

impl Error for InodeFeature {}

/// A fault of a quota file. Blocks are those of the file, of 1 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "fields are numbers of blocks, or as they are called")]
#[non_exhaustive]
pub enum QuotaProblem {
    /// Its inode is of another type.
    NotFile,
    /// The header is that of something else.
    HeaderWrong,
    /// The header counts more blocks than the file has, or none for the tree.
    BlockCountWrong { found: u32, available: u64 },
    /// The header leads to a free block that is not in the file.
    FreeBlockOutside,
    /// A node of the tree leads nowhere.
    NodeEmpty { block: u32 },
    /// A node of the tree leads to a block that is not in the file.
    BlockOutside { node: u32, block: u32 },
    /// Two nodes of the tree lead to one node.
    NodeTwice { block: u32 },
    /// The tree leads to a block more often than it has entries.
    LeafTooOften { block: u32 },
    /// The tree leads to a block less often than it has entries.
    EntriesUnreached { block: u32 },
    /// The header of a block of entries counts other ones.
    LeafHeaderWrong { block: u32, entries: u16 },
    /// The tree leads to a block without an entry for that user, group or project.
    EntryMissing { block: u32, id: u32 },
}

impl fmt::Display for QuotaProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFile => f.write_str("not a regular file"),
            Self::HeaderWrong => f.write_str("its header has another magic number or version"),
            Self::BlockCountWrong { found, available } => {
                write!(f, "{found} blocks, of which the file has {available}")
            }
            Self::FreeBlockOutside => f.write_str("its header leads to a free block outside of it"),
            Self::NodeEmpty { block } => write!(f, "node {block} of its tree is empty"),
            Self::BlockOutside { node, block } => write!(f, "node {node} of its tree leads to block {block}"),
            Self::NodeTwice { block } => write!(f, "block {block} is in its tree twice"),
            Self::LeafTooOften { block } => write!(f, "block {block} is in its tree too often"),
            Self::EntriesUnreached { block } => write!(f, "the tree does not lead to all entries of block {block}"),
            Self::LeafHeaderWrong { block, entries } => {
                write!(f, "block {block} has {entries} entries, and a header that is wrong")
            }
            Self::EntryMissing { block, id } => {
                write!(f, "its tree leads to block {block} for number {id}, which is not there")
            }
        }
    }
}

impl Error for QuotaProblem {}

/// The unit of a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BitmapUnit {
    /// Blocks.
    Block,
    /// Inodes.
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
