//! Which part of a file system an error or a finding is about.

use std::fmt;

/// A structure of a file system, and which one of its kind. Blocks count from the start of the image, in the file system's
/// block size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Structure {
    /// The superblock.
    Superblock,
    /// The backup of the superblock in a group.
    SuperblockBackup {
        /// Number of the group.
        group: u32,
    },
    /// The descriptor of a group.
    GroupDescriptor {
        /// Number of the group.
        group: u32,
    },
    /// The backup of all descriptors in a group.
    DescriptorsBackup {
        /// Number of the group.
        group: u32,
    },
    /// The bitmap of the blocks of a group.
    BlockBitmap {
        /// Number of the group.
        group: u32,
    },
    /// The bitmap of the inodes of a group.
    InodeBitmap {
        /// Number of the group.
        group: u32,
    },
    /// An inode.
    Inode {
        /// Its number.
        ino: u32,
    },
    /// A block of an inode's extent tree, or of its block map.
    ExtentNode {
        /// Number of the inode.
        ino: u32,
        /// Number of the block.
        block: u64,
    },
    /// A block of a directory's entries.
    DirectoryBlock {
        /// Number of the directory's inode.
        ino: u32,
        /// Number of the block.
        block: u64,
    },
    /// A block of a directory's index.
    IndexNode {
        /// Number of the directory's inode.
        ino: u32,
        /// Number of the block.
        block: u64,
    },
    /// A block of extended attributes.
    XattrBlock {
        /// Number of an inode that has them.
        ino: u32,
        /// Number of the block.
        block: u64,
    },
    /// The value of an extended attribute that has an inode of its own.
    XattrValue {
        /// Number of the value's inode.
        ino: u32,
    },
    /// The superblock of the journal.
    Journal,
    /// A block of the journal.
    JournalBlock {
        /// Number of the block in the journal.
        block: u32,
    },
}

impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Superblock => write!(f, "the superblock"),
            Self::SuperblockBackup { group } => write!(f, "the copy of the superblock in group {group}"),
            Self::GroupDescriptor { group } => write!(f, "the descriptor of group {group}"),
            Self::DescriptorsBackup { group } => write!(f, "the copy of the descriptors in group {group}"),
            Self::BlockBitmap { group } => write!(f, "the block bitmap of group {group}"),
            Self::InodeBitmap { group } => write!(f, "the inode bitmap of group {group}"),
            Self::Inode { ino } => write!(f, "inode {ino}"),
            Self::ExtentNode { ino, block } => write!(f, "the extents of inode {ino} in block {block}"),
            Self::DirectoryBlock { ino, block } => write!(f, "the entries of directory {ino} in block {block}"),
            Self::IndexNode { ino, block } => write!(f, "the index of directory {ino} in block {block}"),
            Self::XattrBlock { ino, block } => write!(f, "the attributes of inode {ino} in block {block}"),
            Self::XattrValue { ino } => write!(f, "the value of an attribute in inode {ino}"),
            Self::Journal => write!(f, "the superblock of the journal"),
            Self::JournalBlock { block } => write!(f, "block {block} of the journal"),
        }
    }
}

impl Structure {
    /// Returns the kind of the structure, without its numbers.
    #[must_use]
    pub fn kind(&self) -> StructureKind {
        match self {
            Self::Superblock => StructureKind::Superblock,
            Self::SuperblockBackup { .. } => StructureKind::SuperblockBackup,
            Self::GroupDescriptor { .. } => StructureKind::GroupDescriptor,
            Self::DescriptorsBackup { .. } => StructureKind::DescriptorsBackup,
            Self::BlockBitmap { .. } => StructureKind::BlockBitmap,
            Self::InodeBitmap { .. } => StructureKind::InodeBitmap,
            Self::Inode { .. } => StructureKind::Inode,
            Self::ExtentNode { .. } => StructureKind::ExtentNode,
            Self::DirectoryBlock { .. } => StructureKind::DirectoryBlock,
            Self::IndexNode { .. } => StructureKind::IndexNode,
            Self::XattrBlock { .. } => StructureKind::XattrBlock,
            Self::XattrValue { .. } => StructureKind::XattrValue,
            Self::Journal => StructureKind::Journal,
            Self::JournalBlock { .. } => StructureKind::JournalBlock,
        }
    }
}

/// A kind of [`Structure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StructureKind {
    /// The superblock.
    Superblock,
    /// A backup of the superblock.
    SuperblockBackup,
    /// The descriptor of a group.
    GroupDescriptor,
    /// A backup of all descriptors.
    DescriptorsBackup,
    /// The bitmap of the blocks of a group.
    BlockBitmap,
    /// The bitmap of the inodes of a group.
    InodeBitmap,
    /// An inode.
    Inode,
    /// A block of an inode's extent tree, or of its block map.
    ExtentNode,
    /// A block of a directory's entries.
    DirectoryBlock,
    /// A block of a directory's index.
    IndexNode,
    /// A block of extended attributes.
    XattrBlock,
    /// The value of an extended attribute that has an inode of its own.
    XattrValue,
    /// The superblock of the journal.
    Journal,
    /// A block of the journal.
    JournalBlock,
}

impl StructureKind {
    /// Returns the name of the kind: lowercase words with underscores between.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Superblock => "superblock",
            Self::SuperblockBackup => "superblock_backup",
            Self::GroupDescriptor => "group_descriptor",
            Self::DescriptorsBackup => "descriptors_backup",
            Self::BlockBitmap => "block_bitmap",
            Self::InodeBitmap => "inode_bitmap",
            Self::Inode => "inode",
            Self::ExtentNode => "extent_node",
            Self::DirectoryBlock => "directory_block",
            Self::IndexNode => "index_node",
            Self::XattrBlock => "xattr_block",
            Self::XattrValue => "xattr_value",
            Self::Journal => "journal",
            Self::JournalBlock => "journal_block",
        }
    }
}

impl fmt::Display for StructureKind {
    /// Writes the name with spaces between its words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().replace('_', " "))
    }
}
