//! [`Structure`]: the part of a file system that an error or a finding is about.

use std::fmt;

/// Structure of a file system. Block numbers count from the start of the image, in blocks of the
/// file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Structure {
    /// Primary superblock.
    Superblock,
    /// Backup of the superblock in a group.
    SuperblockBackup {
        /// Number of the group.
        group: u32,
    },
    /// Descriptor of a group.
    GroupDescriptor {
        /// Number of the group.
        group: u32,
    },
    /// Backup of all group descriptors in a group.
    DescriptorsBackup {
        /// Number of the group.
        group: u32,
    },
    /// Block bitmap of a group.
    BlockBitmap {
        /// Number of the group.
        group: u32,
    },
    /// Inode bitmap of a group.
    InodeBitmap {
        /// Number of the group.
        group: u32,
    },
    /// Inode.
    Inode {
        /// Number of the inode.
        ino: u32,
    },
    /// Block of an inode's extent tree or block map.
    ExtentNode {
        /// Number of the inode.
        ino: u32,
        /// Number of the block.
        block: u64,
    },
    /// Block of a directory's entries.
    DirectoryBlock {
        /// Number of the directory's inode.
        ino: u32,
        /// Number of the block.
        block: u64,
    },
    /// Block of a directory's index.
    IndexNode {
        /// Number of the directory's inode.
        ino: u32,
        /// Number of the block.
        block: u64,
    },
    /// Block of extended attributes.
    XattrBlock {
        /// Number of an inode with these attributes.
        ino: u32,
        /// Number of the block.
        block: u64,
    },
    /// Value of an extended attribute in an inode of its own.
    XattrValue {
        /// Number of the inode that holds the value.
        ino: u32,
    },
    /// Superblock of the journal.
    Journal,
    /// Block of the journal.
    JournalBlock {
        /// Number of the block in the journal.
        block: u32,
    },
}

impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Superblock => write!(f, "the superblock"),
            Self::SuperblockBackup { group } => write!(f, "the backup of the superblock in group {group}"),
            Self::GroupDescriptor { group } => write!(f, "the descriptor of group {group}"),
            Self::DescriptorsBackup { group } => write!(f, "the backup of the group descriptors in group {group}"),
            Self::BlockBitmap { group } => write!(f, "the block bitmap of group {group}"),
            Self::InodeBitmap { group } => write!(f, "the inode bitmap of group {group}"),
            Self::Inode { ino } => write!(f, "inode {ino}"),
            Self::ExtentNode { ino, block } => write!(f, "the extents of inode {ino} in block {block}"),
            Self::DirectoryBlock { ino, block } => write!(f, "the entries of directory {ino} in block {block}"),
            Self::IndexNode { ino, block } => write!(f, "the index of directory {ino} in block {block}"),
            Self::XattrBlock { ino, block } => write!(f, "the attributes of inode {ino} in block {block}"),
            Self::XattrValue { ino } => write!(f, "the attribute value in inode {ino}"),
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

/// Kind of a [`Structure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StructureKind {
    /// Primary superblock.
    Superblock,
    /// Backup of the superblock.
    SuperblockBackup,
    /// Descriptor of a group.
    GroupDescriptor,
    /// Backup of all group descriptors.
    DescriptorsBackup,
    /// Block bitmap of a group.
    BlockBitmap,
    /// Inode bitmap of a group.
    InodeBitmap,
    /// Inode.
    Inode,
    /// Block of an inode's extent tree or block map.
    ExtentNode,
    /// Block of a directory's entries.
    DirectoryBlock,
    /// Block of a directory's index.
    IndexNode,
    /// Block of extended attributes.
    XattrBlock,
    /// Value of an extended attribute in an inode of its own.
    XattrValue,
    /// Superblock of the journal.
    Journal,
    /// Block of the journal.
    JournalBlock,
}

impl StructureKind {
    /// Returns the name of the kind: lowercase words with underscores between them.
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
