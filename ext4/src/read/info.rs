//! [`SuperblockInfo`]: the file system as a whole.

use super::Reader;
use crate::disk::features::Features;
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Ino};

/// Properties of the file system from the superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SuperblockInfo {
    /// UUID of the file system.
    pub uuid: [u8; 16],
    /// Label without its padding of NULs.
    pub label: Vec<u8>,
    /// Size of a block in bytes.
    pub block_size: u64,
    /// Number of blocks of the file system.
    pub block_count: u64,
    /// Number of free blocks according to the superblock.
    pub free_block_count: u64,
    /// Number of blocks that only root can allocate.
    pub reserved_block_count: u64,
    /// Number of inodes, free ones included.
    pub inode_count: u32,
    /// Number of free inodes according to the superblock.
    pub free_inode_count: u32,
    /// Number of inodes of each group.
    pub inodes_per_group: u32,
    /// Size of an inode in bytes.
    pub inode_size: u64,
    /// Names of the features as `dumpe2fs` prints them, in its order.
    pub features: Vec<String>,
    /// Set if the journal has to be replayed. The reader does that in memory.
    pub needs_recovery: bool,
    /// Inode of the journal, if it is in the file system.
    pub journal: Option<Ino>,
    /// Inodes without a name, in ascending order: the resize inode, the journal, the quota files
    /// and the orphan file.
    pub nameless_inodes: Vec<Ino>,
    /// Block for multiple-mount protection, if there is one.
    pub mount_protection_block: Option<BlockNr>,
}

impl<R: ReadAt> Reader<R> {
    /// Returns the properties of the file system from the superblock.
    #[must_use]
    pub fn info(&self) -> SuperblockInfo {
        let superblock = &self.superblock;
        let mut nameless = superblock.named_inodes().map(Ino).to_vec();
        nameless.push(Ino::RESIZE);
        nameless.retain(|ino| ino.get() != 0);
        nameless.sort_unstable();
        nameless.dedup();
        let mount_protection = Some(superblock.mmp_block.get()).filter(|_| superblock.has(Features::MMP));
        SuperblockInfo {
            uuid: superblock.uuid,
            label: superblock.label().to_vec(),
            block_size: self.block_size as u64,
            block_count: self.block_count,
            free_block_count: superblock.free_blocks(),
            reserved_block_count: superblock.reserved_blocks(),
            inode_count: superblock.inodes_count.get(),
            free_inode_count: superblock.free_inodes_count.get(),
            inodes_per_group: superblock.inodes_per_group.get(),
            inode_size: self.inode_size() as u64,
            features: superblock.features().names().collect(),
            needs_recovery: self.needs_recovery,
            journal: Some(Ino(superblock.journal_inum.get())).filter(|ino| ino.get() != 0),
            nameless_inodes: nameless,
            mount_protection_block: mount_protection.filter(|&block| block != 0).map(BlockNr),
        }
    }
}
