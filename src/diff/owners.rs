//! What each block of an image belongs to.

use std::fmt;

use ext4::BlockRange;
use ext4::read::{GroupMetadata, SuperblockInfo};

/// Blocks that describe a group, or all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    /// The group that it describes or, for backups of what describes all groups, that it lies in.
    pub(super) group: u32,
    pub(super) kind: TableKind,
    pub(super) blocks: BlockRange,
}

/// Metadata of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TableKind {
    Superblock,
    Descriptors,
    BlockBitmap,
    InodeBitmap,
    InodeTable,
}

/// Lists the tables of all groups, by group and kind.
pub(super) fn tables(groups: &[GroupMetadata]) -> Vec<Table> {
    let tables_of = |metadata: &GroupMetadata| {
        let one = |start| BlockRange { start, count: 1 };
        let group = metadata.group;
        let tables = [
            (TableKind::Superblock, metadata.superblock.map(one)),
            (TableKind::Descriptors, metadata.descriptors),
            (TableKind::BlockBitmap, Some(one(metadata.block_bitmap))),
            (TableKind::InodeBitmap, Some(one(metadata.inode_bitmap))),
            (TableKind::InodeTable, Some(metadata.inode_table)),
        ];
        tables
            .into_iter()
            .filter_map(move |(kind, blocks)| blocks.map(|blocks| Table { group, kind, blocks }))
    };
    groups.iter().flat_map(tables_of).collect()
}

/// What a block is part of, and which one of its kind: the number of a group or an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    pub(super) kind: OwnerKind,
    pub(super) number: u32,
}

/// What a block can be part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum OwnerKind {
    BootArea,
    Superblock,
    SuperblockCopy,
    Descriptors,
    DescriptorsCopy,
    BlockBitmap,
    InodeBitmap,
    Inode,
    Directory,
    File,
    Symlink,
    Node,
    Xattrs,
    XattrValue,
    Reserved,
    Journal,
    MountProtection,
    Free,
    Behind,
}

impl fmt::Display for OwnerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BootArea => "boot area",
            Self::Superblock => "superblock",
            Self::SuperblockCopy => "copies of the superblock",
            Self::Descriptors => "group descriptors",
            Self::DescriptorsCopy => "copies of the group descriptors",
            Self::BlockBitmap => "block bitmaps",
            Self::InodeBitmap => "inode bitmaps",
            Self::Inode => "inodes",
            Self::Directory => "blocks of directories",
            Self::File => "blocks of files",
            Self::Symlink => "blocks of symlinks",
            Self::Node => "nodes of extent trees",
            Self::Xattrs => "blocks of extended attributes",
            Self::XattrValue => "values of extended attributes",
            Self::Reserved => "reserved inodes' blocks",
            Self::Journal => "journal",
            Self::MountProtection => "multiple mount protection",
            Self::Free => "free blocks",
            Self::Behind => "behind the file system",
        })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number;
        match self.kind {
            OwnerKind::SuperblockCopy
            | OwnerKind::DescriptorsCopy
            | OwnerKind::BlockBitmap
            | OwnerKind::InodeBitmap => write!(f, "{} (group {number})", self.kind),
            OwnerKind::Inode
            | OwnerKind::Directory
            | OwnerKind::File
            | OwnerKind::Symlink
            | OwnerKind::Node
            | OwnerKind::Xattrs
            | OwnerKind::XattrValue
            | OwnerKind::Reserved => write!(f, "{} (inode {number})", self.kind),
            _ => write!(f, "{}", self.kind),
        }
    }
}

impl Owner {
    /// Whether it means the same in another image, wherever the files lie there.
    pub(super) fn is_fixed(self) -> bool {
        matches!(
            self.kind,
            OwnerKind::BootArea
                | OwnerKind::Superblock
                | OwnerKind::SuperblockCopy
                | OwnerKind::Descriptors
                | OwnerKind::DescriptorsCopy
                | OwnerKind::BlockBitmap
                | OwnerKind::InodeBitmap
                | OwnerKind::Journal
                | OwnerKind::MountProtection
        )
    }
}

/// The owners of all blocks that have one.
pub(super) struct Owners {
    block_size: u64,
    block_count: u64,
    inodes_per_group: u64,
    inode_size: u64,
    /// By block, once [`Owners::sort`] was called.
    blocks: Vec<(BlockRange, Owner)>,
}

impl Owners {
    /// Those of what describes groups.
    pub(super) fn new(info: &SuperblockInfo, tables: &[Table]) -> Self {
        let owner = |kind, group| match kind {
            TableKind::Superblock if group == 0 => OwnerKind::Superblock,
            TableKind::Superblock => OwnerKind::SuperblockCopy,
            TableKind::Descriptors if group == 0 => OwnerKind::Descriptors,
            TableKind::Descriptors => OwnerKind::DescriptorsCopy,
            TableKind::BlockBitmap => OwnerKind::BlockBitmap,
            TableKind::InodeBitmap => OwnerKind::InodeBitmap,
            TableKind::InodeTable => OwnerKind::Inode,
        };
        let own = |table: &Table| {
            let owner = Owner {
                kind: owner(table.kind, table.group),
                number: table.group,
            };
            (table.blocks, owner)
        };
        Self {
            block_size: info.block_size,
            block_count: info.block_count,
            inodes_per_group: info.inodes_per_group.into(),
            inode_size: info.inode_size,
            blocks: tables.iter().map(own).collect(),
        }
    }

    pub(super) fn add(&mut self, blocks: BlockRange, kind: OwnerKind, number: u32) {
        self.blocks.push((blocks, Owner { kind, number }));
    }

    pub(super) fn sort(&mut self) {
        self.blocks.sort_unstable();
    }

    /// What a byte of the image belongs to.
    pub(super) fn of(&self, position: u64) -> Owner {
        let alone = |kind| Owner { kind, number: 0 };
        match position {
            0..1024 => return alone(OwnerKind::BootArea),
            1024..2048 => return alone(OwnerKind::Superblock),
            _ => {}
        }
        let block = position / self.block_size;
        if block >= self.block_count {
            return alone(OwnerKind::Behind);
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
