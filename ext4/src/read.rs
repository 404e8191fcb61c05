//! [`Reader`]: what an image says of itself and of its inodes, for programs that look into one.
//!
//! It reads what a format of its own needs no more than: the superblock, inodes, directories, extended attributes and the
//! contents of files. Whatever an image holds, the answer is a value or a [`ReadError`]; nothing is read twice, followed
//! in circles, or held in memory beyond a block, a name list or an attribute. Checksums are not verified.

mod content;
mod directory;
mod facts;
mod fields;
mod inode;
mod places;
mod xattrs;

use std::io::{self, Read, Seek, SeekFrom};

use zerocopy::{FromZeros, IntoBytes};

use crate::disk::group_desc::GroupDesc;
use crate::disk::superblock::{MAGIC, OFFSET, Superblock};
use crate::options::BOOT_AREA_LEN;
use crate::units::{BlockNr, Ino};

pub use content::DataRange;
pub use directory::FoundEntry;
pub use facts::Facts;
pub use fields::Fields;
pub use inode::{FoundInode, FoundKind};
pub use places::{Blocks, FoundExtent, Places, Table, TableKind, Tables};

use facts::incompat;

/// Why an image, or something in it, cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The image does not give its bytes, or ends before what it says it has.
    #[error("could not read the image at byte {offset}")]
    Input {
        /// Where.
        offset: u64,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No superblock where one belongs.
    #[error("not an ext2, ext3 or ext4 file system")]
    NotExt4,
    /// Features that this reader does not know, or knows not to read.
    #[error("the file system has features that cannot be read: {features}")]
    Unsupported {
        /// Names as `mke2fs -O` takes them, with spaces between.
        features: String,
    },
    /// What the journal holds is not in its place yet.
    #[error("the file system was not unmounted cleanly, and its journal has to be replayed first")]
    NeedsRecovery,
    /// The superblock contradicts itself.
    #[error("the superblock is damaged: {what}")]
    Superblock {
        /// What is wrong.
        what: &'static str,
    },
    /// There is no such inode.
    #[error("there is no inode {ino}")]
    NoSuchInode {
        /// Its number.
        ino: u32,
    },
    /// An inode, or what belongs to it, contradicts itself or the file system.
    #[error("inode {ino} is damaged: {what}")]
    Inode {
        /// Its number.
        ino: u32,
        /// What is wrong.
        what: &'static str,
    },
}

/// An image to look into: a file, a device, or memory.
pub struct Reader<R> {
    input: R,
    superblock: Superblock,
    block_size: usize,
    block_count: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// Reads the superblock.
    ///
    /// # Errors
    ///
    /// [`ReadError::NotExt4`], [`ReadError::Superblock`] and [`ReadError::Input`].
    pub fn open(mut input: R) -> Result<Self, ReadError> {
        let mut superblock = Superblock::new_zeroed();
        match read_at(&mut input, OFFSET, superblock.as_mut_bytes()) {
            Err(ReadError::Input { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ReadError::NotExt4);
            }
            result => result?,
        }
        if superblock.magic.get() != MAGIC {
            return Err(ReadError::NotExt4);
        }
        let damaged = |what| Err(ReadError::Superblock { what });
        let log_block_size = superblock.log_block_size.get();
        if log_block_size > 6 {
            return damaged("blocks of more than 64 KiB");
        }
        let block_size = 1024 << log_block_size;
        if superblock.inodes_per_group.get() == 0 || superblock.blocks_per_group.get() == 0 {
            return damaged("groups of nothing");
        }
        let mut reader = Self {
            input,
            block_size,
            block_count: superblock.blocks_count_lo.get().into(),
            superblock,
        };
        if reader.has_incompat(incompat::BIT64) {
            reader.block_count |= u64::from(reader.superblock.blocks_count_hi.get()) << 32;
        }
        // 2^48 blocks are the most that an extent can name, and keep all offsets below 2^64.
        if reader.block_count > 1 << 48 {
            return damaged("more blocks than there can be");
        }
        if !(128..=block_size).contains(&reader.inode_size()) {
            return damaged("the size of inodes");
        }
        if reader.descriptor_size() < 32 || reader.descriptor_size() > block_size {
            return damaged("the size of group descriptors");
        }
        Ok(reader)
    }

    /// The bytes before the superblock, which belong to no file system.
    ///
    /// # Errors
    ///
    /// [`ReadError::Input`].
    pub fn boot_area(&mut self) -> Result<[u8; BOOT_AREA_LEN], ReadError> {
        let mut bytes = [0; BOOT_AREA_LEN];
        read_at(&mut self.input, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// The superblock as it would be if no value of an extended attribute had an inode of its own (`ea_inode`), for readers
    /// that refuse this feature though they read no attributes.
    #[must_use]
    pub fn superblock_without_value_inodes(&self) -> [u8; 1024] {
        let mut superblock = self.superblock.clone();
        let features = superblock.feature_incompat.get() & !incompat::EA_INODE;
        superblock.feature_incompat = features.into();
        let mut bytes = [0; size_of::<Superblock>()];
        if features == self.superblock.feature_incompat.get() {
            bytes.copy_from_slice(superblock.as_bytes());
        } else {
            bytes.copy_from_slice(superblock.seal().as_bytes());
        }
        bytes
    }

    fn has_incompat(&self, feature: u32) -> bool {
        self.superblock.feature_incompat.get() & feature != 0
    }

    fn inode_size(&self) -> usize {
        match self.superblock.rev_level.get() {
            0 => 128,
            _ => self.superblock.inode_size.get().into(),
        }
    }

    fn descriptor_size(&self) -> usize {
        match self.superblock.desc_size.get() {
            size if self.has_incompat(incompat::BIT64) => size.into(),
            _ => 32,
        }
    }

    /// Refuses what would be read wrongly.
    fn check_features(&self) -> Result<(), ReadError> {
        if self.has_incompat(incompat::RECOVER) {
            return Err(ReadError::NeedsRecovery);
        }
        let unknown = self.superblock.feature_incompat.get() & !incompat::READABLE;
        if unknown == 0 {
            return Ok(());
        }
        Err(ReadError::Unsupported {
            features: facts::incompat_names(unknown).collect::<Vec<_>>().join(" "),
        })
    }

    /// Where an inode is, in bytes.
    fn offset_of(&mut self, ino: Ino) -> Result<u64, ReadError> {
        self.check_features()?;
        if ino.get() == 0 || ino.get() > self.superblock.inodes_count.get() {
            return Err(ReadError::NoSuchInode { ino: ino.get() });
        }
        let index = ino.get() - 1;
        let per_group = self.superblock.inodes_per_group.get();
        let (group, index) = (index / per_group, index % per_group);
        let mut descriptor = GroupDesc::new_zeroed();
        let size = self.descriptor_size();
        let first = u64::from(self.superblock.first_data_block.get()) + 1;
        let offset = self.offset_of_block(first) + u64::from(group) * size as u64;
        let bytes = descriptor.as_mut_bytes();
        let len = size.min(bytes.len());
        read_at(&mut self.input, offset, &mut bytes[..len])?;
        let table = u64::from(descriptor.inode_table_lo.get()) | u64::from(descriptor.inode_table_hi.get()) << 32;
        if table >= self.block_count {
            return Err(ReadError::Inode {
                ino: ino.get(),
                what: "its table lies behind the end of the file system",
            });
        }
        Ok(self.offset_of_block(table) + u64::from(index) * self.inode_size() as u64)
    }

    /// Reads a whole block that belongs to an inode.
    fn read_block(&mut self, ino: Ino, block: BlockNr) -> Result<Vec<u8>, ReadError> {
        if block.get() == 0 || block.get() >= self.block_count {
            return Err(ReadError::Inode {
                ino: ino.get(),
                what: "a block lies outside of the file system",
            });
        }
        let mut bytes = vec![0; self.block_size];
        let offset = self.offset_of_block(block.get());
        read_at(&mut self.input, offset, &mut bytes)?;
        Ok(bytes)
    }

    fn offset_of_block(&self, block: u64) -> u64 {
        block * self.block_size as u64
    }
}

fn read_at(input: &mut (impl Read + Seek), offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
    input
        .seek(SeekFrom::Start(offset))
        .and_then(|_| input.read_exact(bytes))
        .map_err(|source| ReadError::Input { offset, source })
}
