//! Which blocks of an image belong to what.

use std::collections::BTreeSet;
use zerocopy::FromBytes;

use super::facts::incompat;
use super::{FoundInode, FoundKind, ReadError, Reader};
use crate::disk::extent::{ENTRY_LEN, ExtentHeader, ExtentIndex, ExtentLeaf};
use crate::disk::inode::InodeFlags;
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Extent, Ino};

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
        if !has_blocks || inode.flags.contains(InodeFlags::INLINE_DATA) {
            return Ok(places);
        }
        if inode.flags.contains(InodeFlags::EXTENTS) {
            // Says that the tree makes sense, and ends.
            self.extents(inode)?;
            self.extent_places(inode, &mut places)?;
        } else if inode.kind != FoundKind::Symlink || inode.size >= inode.block.len() as u64 {
            self.mapped_places(inode, &mut places)?;
        }
        Ok(places)
    }

    /// Those of an extent tree that makes sense.
    fn extent_places(&self, inode: &FoundInode, places: &mut Places) -> Result<(), ReadError> {
        let damaged = || inode.damaged("its extent tree makes no sense");
        let mut pending = Vec::new();
        let mut node = inode.block.to_vec();
        loop {
            let (header, entries) = ExtentHeader::read_from_prefix(&node).map_err(|_| damaged())?;
            let len = usize::from(header.entries.get()) * ENTRY_LEN;
            let (entries, _) = entries.get(..len).ok_or_else(damaged)?.as_chunks::<ENTRY_LEN>();
            let mut children = Vec::new();
            for entry in entries {
                if header.depth.get() > 0 {
                    let index = ExtentIndex::read_from_bytes(entry).map_err(|_| damaged())?;
                    children.push(u64::from(index.leaf_lo.get()) | u64::from(index.leaf_hi.get()) << 32);
                    continue;
                }
                let leaf = ExtentLeaf::read_from_bytes(entry).map_err(|_| damaged())?;
                let (len, max) = (u32::from(leaf.len.get()), Extent::MAX_BLOCKS);
                places.extents.push(FoundExtent {
                    logical: leaf.block.get().into(),
                    blocks: Blocks {
                        start: u64::from(leaf.start_lo.get()) | u64::from(leaf.start_hi.get()) << 32,
                        count: if len <= max { len } else { len - max }.into(),
                    },
                    is_written: len <= max,
                });
            }
            pending.extend(children.into_iter().rev());
            let Some(block) = pending.pop() else {
                return Ok(());
            };
            places.nodes.push(block);
            node = self.read_block(inode.ino, BlockNr(block))?;
        }
    }

    /// Those of a block map (`i_block` without the feature `extent`): the resize inode has one in every file system.
    fn mapped_places(&self, inode: &FoundInode, places: &mut Places) -> Result<(), ReadError> {
        let (words, _) = inode.block.as_chunks::<4>();
        let per_block = self.block_size as u64 / 4;
        let mut pending = Vec::new();
        let mut logical = 0;
        for (index, word) in words.iter().enumerate() {
            // Twelve blocks of content, then blocks of such numbers, of one to three levels (`EXT4_NDIR_BLOCKS`).
            let levels = u32::try_from(index.saturating_sub(11)).expect("there are 15");
            pending.push((u32::from_le_bytes(*word), levels, logical));
            logical += per_block.pow(levels);
        }
        pending.reverse();
        let mut seen = BTreeSet::new();
        while let Some((block, levels, logical)) = pending.pop() {
            if block == 0 {
                continue;
            }
            if levels == 0 {
                places.add_block(logical, block.into());
                continue;
            }
            if !seen.insert(block) {
                return Err(inode.damaged("one block is in its block map twice"));
            }
            places.nodes.push(block.into());
            let node = self.read_block(inode.ino, BlockNr(block.into()))?;
            let (words, _) = node.as_chunks::<4>();
            let span = per_block.pow(levels - 1);
            let children = words.iter().map(|word| u32::from_le_bytes(*word)).zip(0_u64..);
            let children: Vec<_> = children
                .filter(|(word, _)| *word != 0)
                .map(|(word, index)| (word, levels - 1, logical + index * span))
                .collect();
            pending.extend(children.into_iter().rev());
        }
        Ok(())
    }

    /// Where in the superblock's view a block of multiple mount protection is, if there is one.
    #[must_use]
    pub fn mount_protection_block(&self) -> Option<u64> {
        let block = self.superblock.mmp_block.get();
        (self.has_incompat(incompat::MMP) && block != 0).then_some(block)
    }
}

impl Places {
    fn add_block(&mut self, logical: u64, block: u64) {
        if let Some(last) = self.extents.last_mut()
            && last.logical + last.blocks.count == logical
            && last.blocks.start + last.blocks.count == block
        {
            last.blocks.count += 1;
            return;
        }
        self.extents.push(FoundExtent {
            logical,
            blocks: Blocks { start: block, count: 1 },
            is_written: true,
        });
    }
}
