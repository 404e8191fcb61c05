//! Blocks of an image by what they belong to: an inode, or what describes a group.

use super::{Inode, ReadError, Reader};
use crate::disk::inode::InodeFlags;
use crate::file_type::FileType;
use crate::read_at::ReadAt;
use crate::units::{BlockNr, BlockRange, Ino};

/// Most groups that are listed: those of 32 TiB in blocks of 1 KiB.
const MAX_GROUPS: u32 = 1 << 22;

/// Contiguous blocks of a file, and where in the file they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// Block of the file that the first one holds, counted from 0.
    pub logical: u32,
    /// Their blocks in the image.
    pub blocks: BlockRange,
    /// Set if they were never written to, so that they read as zeros.
    pub unwritten: bool,
}

/// The blocks of an inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InodeBlocks {
    /// Its content, ascending.
    pub extents: Vec<Extent>,
    /// The nodes of its extent tree or block map besides the root.
    pub nodes: Vec<BlockNr>,
    /// The block of its extended attributes, which other inodes may share.
    pub xattr_block: Option<BlockNr>,
    /// The inodes that hold values of its extended attributes, which other inodes may share.
    pub value_inodes: Vec<Ino>,
}

/// Blocks that describe a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMetadata {
    /// Number of the group.
    pub group: u32,
    /// The superblock in group 0, a backup of it in others, if the group has one.
    pub superblock: Option<BlockNr>,
    /// The descriptors of all groups, or their backup, if the group has them.
    pub descriptors: Option<BlockRange>,
    /// Which blocks of the group are in use.
    pub block_bitmap: BlockNr,
    /// Which inodes of the group are in use.
    pub inode_bitmap: BlockNr,
    /// The inodes of the group.
    pub inode_table: BlockRange,
}

impl<R: ReadAt> Reader<R> {
    /// Reads the descriptors of all groups, which may be damaged, in ascending order.
    ///
    /// # Errors
    ///
    /// [`ReadError::Superblock`] if there are more groups than can be, [`ReadError::Unsupported`]
    /// and [`ReadError::Input`].
    pub fn groups(&self) -> Result<Vec<GroupMetadata>, ReadError> {
        self.check_features()?;
        let superblock = &self.superblock;
        let groups = self.group_count(self.block_count);
        // All descriptors lie in the first group.
        let room = u64::from(superblock.blocks_per_group.get()) * self.block_size as u64;
        if groups > MAX_GROUPS || u64::from(groups) * self.descriptor_size() as u64 > room {
            return Err(ReadError::Superblock {
                what: "more groups than there can be",
            });
        }
        let metadata = |group| {
            let start = BlockNr(superblock.group_start(group));
            let has_superblock = superblock.has_backup(group);
            let (descriptor, _) = self.descriptor(group)?;
            Ok(GroupMetadata {
                group,
                superblock: has_superblock.then_some(start),
                descriptors: has_superblock.then(|| BlockRange {
                    start: start + 1,
                    count: superblock.descriptor_blocks(),
                }),
                block_bitmap: BlockNr(descriptor.block_bitmap()),
                inode_bitmap: BlockNr(descriptor.inode_bitmap()),
                inode_table: BlockRange {
                    start: BlockNr(descriptor.inode_table()),
                    count: superblock.inode_table_blocks(),
                },
            })
        };
        (0..groups).map(metadata).collect()
    }

    /// Finds the blocks of an inode.
    ///
    /// # Errors
    ///
    /// [`ReadError::Inode`] if they make no sense, [`ReadError::Checksum`] and
    /// [`ReadError::Input`].
    pub fn blocks(&self, inode: &Inode) -> Result<InodeBlocks, ReadError> {
        let mut blocks = InodeBlocks {
            xattr_block: inode.xattr_block,
            value_inodes: self.value_inodes(inode)?,
            ..InodeBlocks::default()
        };
        if inode.has_content() && !inode.is_fast_symlink && !inode.has(InodeFlags::INLINE_DATA) {
            let mapped = self.mapped_before(inode, u64::MAX)?;
            blocks.nodes = mapped.nodes;
            let extents = mapped.extents.into_iter().map(|(extent, is_written)| Extent {
                logical: extent.logical,
                blocks: extent.range(),
                unwritten: !is_written,
            });
            blocks.extents = extents.collect();
        }
        Ok(blocks)
    }
}

impl Inode {
    /// Returns whether `i_block` leads to bytes, or holds them.
    pub(super) fn has_content(&self) -> bool {
        matches!(
            self.file_type,
            FileType::RegularFile | FileType::Directory | FileType::Symlink
        )
    }
}
