//! Which blocks of an image belong to what.

use super::facts::incompat;
use super::{FoundInode, FoundKind, ReadError, Reader};
use crate::disk::inode::InodeFlags;
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Ino};

/// Most groups whose tables are listed: those of 32 TiB in blocks of 1 KiB.
const MAX_GROUPS: u32 = 1 << 22;

/// Contiguous blocks of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blocks {
    /// Number of the first one.
    pub start: u64,
    /// How many there are.
    pub count: u64,
}

/// Blocks of a file, and where in the file they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundExtent {
    /// Number of the first one in the file.
    pub logical: u64,
    /// Where in the image they are.
    pub blocks: Blocks,
    /// Whether they were ever written to; if not, they read as zeros.
    pub is_written: bool,
}

/// The blocks of an inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Its content, ascending.
    pub extents: Vec<FoundExtent>,
    /// The nodes of its extent tree or block map besides the root.
    pub nodes: Vec<u64>,
    /// The block of its extended attributes, which other inodes may share.
    pub xattrs: Option<u64>,
    /// The inodes that hold values of its extended attributes, which other inodes may share.
    pub values: Vec<Ino>,
}

/// What is in every group, and how the inodes are numbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Inodes of a group.
    pub inodes_per_group: u32,
    /// Size of an inode in bytes.
    pub inode_size: u64,
    /// All of them, by group.
    pub tables: Vec<Table>,
    /// The journal's inode, if it is in the file system.
    pub journal: Option<Ino>,
    /// Inodes that no name leads to: the resize inode, the journal, quotas, orphans.
    pub reserved: Vec<Ino>,
}

/// Blocks that describe a group, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// What it is.
    pub kind: TableKind,
    /// Number of the group that it describes or, for copies of what describes all groups, that it lies in.
    pub group: u32,
    /// Where it is.
    pub blocks: Blocks,
}

/// What describes groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableKind {
    /// The superblock or a copy of it.
    Superblock,
    /// The group descriptors or a copy of them.
    Descriptors,
    /// Which blocks of a group are in use.
    BlockBitmap,
    /// Which inodes of a group are in use.
    InodeBitmap,
    /// The inodes of a group.
    InodeTable,
}

impl<R: ReadAt> Reader<R> {
    /// What is in every group.
    ///
    /// # Errors
    ///
    /// [`ReadError::Superblock`] if there are more groups than can be, [`ReadError::Unsupported`] and [`ReadError::Input`].
    pub fn tables(&self) -> Result<Tables, ReadError> {
        self.check_features()?;
        let superblock = self.superblock.clone();
        let first = u64::from(superblock.first_data_block.get());
        let per_group = u64::from(superblock.blocks_per_group.get());
        let groups = self.block_count.saturating_sub(first).div_ceil(per_group);
        let size = self.descriptor_size() as u64;
        // All descriptors lie in the first group.
        let fits = groups.saturating_mul(size) <= per_group * self.block_size as u64;
        let groups = u32::try_from(groups)
            .ok()
            .filter(|&groups| fits && groups <= MAX_GROUPS);
        let groups = groups.ok_or(ReadError::Superblock {
            what: "more groups than there can be",
        })?;
        let inodes_per_group = superblock.inodes_per_group.get();
        let inode_size = self.inode_size() as u64;
        let table_len = (u64::from(inodes_per_group) * inode_size).div_ceil(self.block_size as u64);
        let descriptors_len = (u64::from(groups) * size).div_ceil(self.block_size as u64);
        let mut tables = Vec::new();
        for group in 0..groups {
            let mut add = |kind, start, count| {
                tables.push(Table {
                    kind,
                    group,
                    blocks: Blocks { start, count },
                });
            };
            if superblock.has_backup(group) {
                let start = first + u64::from(group) * per_group;
                add(TableKind::Superblock, start, 1);
                add(TableKind::Descriptors, start + 1, descriptors_len);
            }
            let (descriptor, _) = self.descriptor(group)?;
            let wide = |lo: u32, hi: u32| u64::from(lo) | u64::from(hi) << 32;
            for (kind, lo, hi, count) in [
                (
                    TableKind::BlockBitmap,
                    descriptor.block_bitmap_lo,
                    descriptor.block_bitmap_hi,
                    1,
                ),
                (
                    TableKind::InodeBitmap,
                    descriptor.inode_bitmap_lo,
                    descriptor.inode_bitmap_hi,
                    1,
                ),
                (
                    TableKind::InodeTable,
                    descriptor.inode_table_lo,
                    descriptor.inode_table_hi,
                    table_len,
                ),
            ] {
                add(kind, wide(lo.get(), hi.get()), count);
            }
        }
        let mut reserved: Vec<_> = [
            Ino::RESIZE.get(),
            superblock.journal_inum.get(),
            superblock.usr_quota_inum.get(),
            superblock.grp_quota_inum.get(),
            superblock.prj_quota_inum.get(),
            superblock.orphan_file_inum.get(),
        ]
        .map(Ino)
        .into();
        reserved.sort_unstable();
        reserved.dedup();
        reserved.retain(|ino| ino.get() != 0);
        Ok(Tables {
            inodes_per_group,
            inode_size,
            tables,
            journal: Some(Ino(superblock.journal_inum.get())).filter(|ino| ino.get() != 0),
            reserved,
        })
    }

    /// A reserved inode, such as the journal; none if it is not in use.
    ///
    /// # Errors
    ///
    /// As [`Reader::inode`].
    pub fn reserved_inode(&self, ino: Ino) -> Result<Option<FoundInode>, ReadError> {
        let offset = self.offset_of(ino)?;
        let mut mode = [0; 2];
        self.read_at(offset, &mut mode)?;
        if mode == [0; 2] {
            return Ok(None);
        }
        self.inode(ino).map(Some)
    }

    /// The blocks of an inode.
    ///
    /// # Errors
    ///
    /// [`ReadError::Inode`] if they make no sense, and [`ReadError::Input`].
    pub fn places(&self, inode: &FoundInode) -> Result<Places, ReadError> {
        let mut places = Places {
            xattrs: inode.xattr_block.map(BlockNr::get),
            values: self.value_inodes(inode)?,
            ..Places::default()
        };
        let has_blocks = matches!(inode.kind, FoundKind::File | FoundKind::Directory | FoundKind::Symlink);
        let is_fast = inode.kind == FoundKind::Symlink
            && !inode.flags.contains(InodeFlags::EXTENTS)
            && inode.size < inode.block.len() as u64;
        if !has_blocks || is_fast || inode.flags.contains(InodeFlags::INLINE_DATA) {
            return Ok(places);
        }
        let mapped = self.mapped_before(inode, u64::MAX)?;
        places.nodes = mapped.nodes.into_iter().map(BlockNr::get).collect();
        let extents = mapped.extents.into_iter().map(|(extent, is_written)| FoundExtent {
            logical: extent.logical.into(),
            blocks: Blocks {
                start: extent.start.get(),
                count: extent.count.into(),
            },
            is_written,
        });
        places.extents = extents.collect();
        Ok(places)
    }

    /// Where in the superblock's view a block of multiple mount protection is, if there is one.
    #[must_use]
    pub fn mount_protection_block(&self) -> Option<u64> {
        let block = self.superblock.mmp_block.get();
        (self.has_incompat(incompat::MMP) && block != 0).then_some(block)
    }
}
