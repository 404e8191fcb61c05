//! What a file system shall be like.

use crate::error::FormatError;
use crate::units::BlockSize;

/// One MiB in bytes.
const MIB: u64 = 1 << 20;

/// Bytes before the superblock, which belong to no file system.
pub const BOOT_AREA_LEN: usize = 1024;

/// What the file system shall be like; everything else follows from the tree.
#[derive(Clone, Debug)]
pub struct Options {
    /// UUID of the file system.
    pub uuid: [u8; 16],
    /// Seed of the hashes of names in indexed directories.
    pub hash_seed: [u8; 16],
    /// Label of the file system.
    pub label: Label,
    /// Size of a block.
    pub block_size: BlockSize,
    /// Size of the file system.
    pub size: Size,
    /// How many inodes there are.
    pub inodes: Inodes,
    /// Whether there is a journal, and its size.
    pub journal: Journal,
    /// Room for group descriptors, so that the file system can grow (`resize_inode`).
    pub growth: bool,
    /// Whether values of extended attributes that fit neither the inode nor a block get inodes of their own (`ea_inode`),
    /// which Linux reads from 4.13 on. The feature is there only if such a value is.
    pub large_xattrs: bool,
    /// Whether files of up to 128 bytes and small directories lie in their inodes (`inline_data`, Linux 3.8).
    pub inline_data: bool,
    /// Blocks that only root can use, in percent of all, 0 to 50; more counts as 50, the most that e2fsck takes.
    pub reserved_percent: u8,
    /// Seconds since 1970 that the superblock gives as the time of creation and of the last check and write.
    pub created: u32,
    /// The first 1,024 bytes, written as they are: a boot loader, or anything else. Neither Linux nor e2fsprogs ever touches
    /// them.
    pub boot_area: [u8; BOOT_AREA_LEN],
}

impl Options {
    /// What mke2fs makes by default, without blocks reserved for root, of a size that fits the content.
    #[must_use]
    pub fn new(uuid: [u8; 16]) -> Self {
        Self {
            uuid,
            hash_seed: uuid,
            label: Label::default(),
            block_size: BlockSize::default(),
            size: Size::Fit(Fit::default()),
            inodes: Inodes::default(),
            journal: Journal::default(),
            growth: true,
            large_xattrs: true,
            inline_data: false,
            reserved_percent: 0,
            created: 0,
            boot_area: [0; BOOT_AREA_LEN],
        }
    }
}

/// Size of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// So many bytes, rounded down to whole blocks.
    Fixed(u64),
    /// What the content needs, and free space.
    Fit(Fit),
}

/// How a file system that fits its content finds its size, in whole MiB.
///
/// It is the smallest with at least so much free space and at least the smallest size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Free space in bytes.
    pub free: u64,
    /// Free space in percent of what the content uses, if that is more than [`Fit::free`].
    pub free_percent: u32,
    /// Smallest size in bytes; what exceeds [`Fit::max`] is cut off.
    pub min: u64,
    /// Largest size in bytes.
    pub max: u64,
}

impl Default for Fit {
    /// A quarter of the content or 256 MiB free, whichever is more; 1 GiB to 1 TiB.
    fn default() -> Self {
        Self {
            free: 256 * MIB,
            free_percent: 25,
            min: 1024 * MIB,
            max: 1024 * 1024 * MIB,
        }
    }
}

/// How many inodes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inodes {
    /// One for so many bytes of the file system, and as many as the tree needs.
    PerBytes(u32),
    /// At least so many, as far as groups of equal size can have them in 32 bits, and as many as the tree needs.
    AtLeast(u32),
}

impl Default for Inodes {
    /// One for 16 KiB, as mke2fs does (`inode_ratio`).
    fn default() -> Self {
        Self::PerBytes(16 * 1024)
    }
}

/// Whether there is a journal, and its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Journal {
    /// As large as mke2fs makes it for the size of the file system; none below 2,048 blocks.
    #[default]
    Auto,
    /// So many bytes, rounded up to whole blocks; at least 1,024 of them.
    Bytes(u64),
    /// None.
    None,
}

/// Label of a file system: 0 to 16 bytes without NUL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label([u8; 16]);

impl Label {
    /// A label.
    ///
    /// # Errors
    ///
    /// [`FormatError::InvalidLabel`] for more than 16 bytes or a NUL.
    pub fn new(label: &str) -> Result<Self, FormatError> {
        let bytes = label.as_bytes();
        if bytes.len() > 16 || bytes.contains(&0) {
            return Err(FormatError::InvalidLabel {
                label: label.to_owned(),
            });
        }
        let mut padded = [0; 16];
        padded[..bytes.len()].copy_from_slice(bytes);
        Ok(Self(padded))
    }

    /// The label, filled up with NULs.
    pub(crate) fn bytes(self) -> [u8; 16] {
        self.0
    }
}
