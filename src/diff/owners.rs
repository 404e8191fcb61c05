//! Owners of blocks: the structure or file that each block of an image belongs to.

use std::fmt;

use ext4::BlockRange;
use ext4::read::{GroupMetadata, SuperblockInfo};

/// Location of a table of a group: a superblock, group descriptors, a bitmap or an inode table.
#[derive(Debug, Clone, Copy)]
pub(super) struct GroupTable {
    /// The group that the table describes. For superblocks and group descriptors, which describe
    /// all groups, the group that contains the table.
    pub(super) group: u32,
    pub(super) kind: GroupTableKind,
    pub(super) blocks: BlockRange,
}

/// Kind of a table of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GroupTableKind {
    Superblock,
    Descriptors,
    BlockBitmap,
    InodeBitmap,
    InodeTable,
}

/// Returns the tables of all groups, ordered by group and kind.
pub(super) fn group_tables(groups: &[GroupMetadata]) -> Vec<GroupTable> {
    let tables_of = |metadata: &GroupMetadata| {
        let single_block = |start| BlockRange { start, count: 1 };
        let group = metadata.group;
        let tables = [
            (GroupTableKind::Superblock, metadata.superblock.map(single_block)),
            (GroupTableKind::Descriptors, metadata.descriptors),
            (GroupTableKind::BlockBitmap, Some(single_block(metadata.block_bitmap))),
            (GroupTableKind::InodeBitmap, Some(single_block(metadata.inode_bitmap))),
            (GroupTableKind::InodeTable, Some(metadata.inode_table)),
        ];
        tables
            .into_iter()
            .filter_map(move |(kind, blocks)| blocks.map(|blocks| GroupTable { group, kind, blocks }))
    };
    groups.iter().flat_map(tables_of).collect()
}

/// The owner of a block: its kind, and the number of the group or the inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    pub(super) kind: OwnerKind,
    pub(super) number: u32,
}

/// Kind of the owner of a block. The text of a kind is a `field` in the section `bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum OwnerKind {
    BootArea,
    Superblock,
    BackupSuperblock,
    Descriptors,
    BackupDescriptors,
    BlockBitmap,
    InodeBitmap,
    Inode,
    Directory,
    File,
    Symlink,
    ExtentNode,
    XattrBlock,
    XattrValue,
    ReservedInode,
    Journal,
    MountProtection,
    Free,
    AfterEnd,
}

impl fmt::Display for OwnerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BootArea => "boot area",
            Self::Superblock => "superblock",
            Self::BackupSuperblock => "copies of the superblock",
            Self::Descriptors => "group descriptors",
            Self::BackupDescriptors => "copies of the group descriptors",
            Self::BlockBitmap => "block bitmaps",
            Self::InodeBitmap => "inode bitmaps",
            Self::Inode => "inodes",
            Self::Directory => "blocks of directories",
            Self::File => "blocks of files",
            Self::Symlink => "blocks of symlinks",
            Self::ExtentNode => "nodes of extent trees",
            Self::XattrBlock => "blocks of extended attributes",
            Self::XattrValue => "values of extended attributes",
            Self::ReservedInode => "reserved inodes' blocks",
            Self::Journal => "journal",
            Self::MountProtection => "multiple mount protection",
            Self::Free => "free blocks",
            Self::AfterEnd => "behind the file system",
        })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number;
        match self.kind {
            OwnerKind::BackupSuperblock
            | OwnerKind::BackupDescriptors
            | OwnerKind::BlockBitmap
            | OwnerKind::InodeBitmap => write!(f, "{} (group {number})", self.kind),
            OwnerKind::Inode
            | OwnerKind::Directory
            | OwnerKind::File
            | OwnerKind::Symlink
            | OwnerKind::ExtentNode
            | OwnerKind::XattrBlock
            | OwnerKind::XattrValue
            | OwnerKind::ReservedInode => write!(f, "{} (inode {number})", self.kind),
            _ => write!(f, "{}", self.kind),
        }
    }
}

impl Owner {
    /// Returns whether the owner is the same structure in another image, whatever the layout of
    /// files is there.
    pub(super) fn is_fixed(self) -> bool {
        matches!(
            self.kind,
            OwnerKind::BootArea
                | OwnerKind::Superblock
                | OwnerKind::BackupSuperblock
                | OwnerKind::Descriptors
                | OwnerKind::BackupDescriptors
                | OwnerKind::BlockBitmap
                | OwnerKind::InodeBitmap
                | OwnerKind::Journal
                | OwnerKind::MountProtection
        )
    }
}

/// Map from the blocks of an image to their owners.
pub(super) struct BlockOwners {
    block_size: u64,
    block_count: u64,
    inodes_per_group: u64,
    inode_size: u64,
    /// Sorted by block once [`BlockOwners::sort`] has run.
    blocks: Vec<(BlockRange, Owner)>,
}

impl BlockOwners {
    /// Creates a map with the tables of all groups.
    pub(super) fn new(info: &SuperblockInfo, tables: &[GroupTable]) -> Self {
        let owner_kind = |kind, group| match kind {
            GroupTableKind::Superblock if group == 0 => OwnerKind::Superblock,
            GroupTableKind::Superblock => OwnerKind::BackupSuperblock,
            GroupTableKind::Descriptors if group == 0 => OwnerKind::Descriptors,
            GroupTableKind::Descriptors => OwnerKind::BackupDescriptors,
            GroupTableKind::BlockBitmap => OwnerKind::BlockBitmap,
            GroupTableKind::InodeBitmap => OwnerKind::InodeBitmap,
            GroupTableKind::InodeTable => OwnerKind::Inode,
        };
        let table_owner = |table: &GroupTable| {
            let owner = Owner {
                kind: owner_kind(table.kind, table.group),
                number: table.group,
            };
            (table.blocks, owner)
        };
        Self {
            block_size: info.block_size,
            block_count: info.block_count,
            inodes_per_group: info.inodes_per_group.into(),
            inode_size: info.inode_size,
            blocks: tables.iter().map(table_owner).collect(),
        }
    }

    pub(super) fn add(&mut self, blocks: BlockRange, kind: OwnerKind, number: u32) {
        self.blocks.push((blocks, Owner { kind, number }));
    }

    pub(super) fn sort(&mut self) {
        self.blocks.sort_unstable();
    }

    /// Returns the owner of the byte at a position. The map must be sorted.
    pub(super) fn owner_of(&self, position: u64) -> Owner {
        let alone = |kind| Owner { kind, number: 0 };
        match position {
            0..1024 => return alone(OwnerKind::BootArea),
            1024..2048 => return alone(OwnerKind::Superblock),
            _ => {}
        }
        let block = position / self.block_size;
        if block >= self.block_count {
            return alone(OwnerKind::AfterEnd);
        }
        let after = self.blocks.partition_point(|(blocks, _)| blocks.start.get() <= block);
        let found = self.blocks[..after].last();
        let Some((blocks, owner)) = found.filter(|(blocks, _)| block - blocks.start.get() < blocks.count) else {
            return alone(OwnerKind::Free);
        };
        match owner.kind {
            OwnerKind::Inode => {
                let index = (position - blocks.start.get() * self.block_size) / self.inode_size;
                let ino = u64::from(owner.number) * self.inodes_per_group + index + 1;
                Owner {
                    kind: OwnerKind::Inode,
                    number: u32::try_from(ino).unwrap_or(u32::MAX),
                }
            }
            _ => *owner,
        }
    }
}
