//! Lists the blocks of an inode, and the metadata blocks of each group.

use super::{Inode, ReadError, Reader};
use crate::disk::inode::InodeFlags;
use crate::file_type::FileType;
use crate::read_at::ReadAt;
use crate::units::{BlockNr, BlockRange, Ino};

/// Maximum number of groups to list: the number in 32 TiB with blocks of 1 KiB.
const MAX_GROUPS: u32 = 1 << 22;

/// Contiguous blocks of a file and their position in it, unwritten or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileExtent {
    /// First block of the file that the extent maps, counted from 0.
    pub logical: u32,
    /// Blocks in the image.
    pub blocks: BlockRange,
    /// Set if the blocks were never written to, so they read as zeros.
    pub unwritten: bool,
}

/// Blocks of an inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InodeBlocks {
    /// Extents of the content, ascending.
    pub extents: Vec<FileExtent>,
    /// Nodes of the extent tree or block map below the root.
    pub nodes: Vec<BlockNr>,
    /// Block of extended attributes. Other inodes may share it.
    pub xattr_block: Option<BlockNr>,
    /// Inodes that hold values of extended attributes. Other inodes may share them.
    pub value_inodes: Vec<Ino>,
}

/// Metadata blocks of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMetadata {
    /// Number of the group.
    pub group: u32,
    /// The superblock in group 0, or the backup of it that the group has, if any.
    pub superblock: Option<BlockNr>,
    /// The descriptors of all groups, or their backup, if the group has them.
    pub descriptors: Option<BlockRange>,
    /// Bitmap of the used blocks of the group.
    pub block_bitmap: BlockNr,
    /// Bitmap of the used inodes of the group.
    pub inode_bitmap: BlockNr,
    /// Inodes of the group.
    pub inode_table: BlockRange,
}

impl<R: ReadAt> Reader<R> {
    /// Returns the metadata blocks of all groups in ascending order. Does not verify the
    /// descriptors.
    ///
    /// # Errors
    ///
    /// [`ReadError::Superblock`] if the superblock has too many groups, [`ReadError::Unsupported`]
    /// and [`ReadError::Input`].
    pub fn groups(&self) -> Result<Vec<GroupMetadata>, ReadError> {
        self.check_features()?;
        let superblock = &self.superblock;
        let groups = self.group_count(self.block_count);
        // All descriptors must fit in the first group.
        let room = u64::from(superblock.blocks_per_group.get()) * self.block_size as u64;
        if groups > MAX_GROUPS || u64::from(groups) * self.descriptor_size() as u64 > room {
            return Err(ReadError::Superblock {
                what: "it has too many groups",
            });
        }
        let metadata = |group| {
            let start = BlockNr(superblock.group_start(group));
            let has_superblock = superblock.has_backup(group);
            let (descriptor, _) = self.read_group_desc(group)?;
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

    /// Returns the blocks of an inode.
    ///
    /// # Errors
    ///
    /// [`ReadError::Inode`] if its extent tree, block map or attributes are damaged,
    /// [`ReadError::Checksum`] and [`ReadError::Input`].
    pub fn blocks(&self, inode: &Inode) -> Result<InodeBlocks, ReadError> {
        let mut blocks = InodeBlocks {
            xattr_block: inode.xattr_block,
            value_inodes: self.value_inodes(inode)?,
            ..InodeBlocks::default()
        };
        if inode.has_content() && !inode.is_fast_symlink && !inode.has(InodeFlags::INLINE_DATA) {
            let mapped = self.map_before(inode, u64::MAX)?;
            blocks.nodes = mapped.nodes;
            let extents = mapped.extents.into_iter().map(|(extent, is_written)| FileExtent {
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
    /// Returns whether `i_block` maps or holds content.
    pub(super) fn has_content(&self) -> bool {
        matches!(
            self.file_type,
            FileType::RegularFile | FileType::Directory | FileType::Symlink
        )
    }
}
