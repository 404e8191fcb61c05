//! [`Options`] of a file system: size, block size, inodes, journal, label and features.
//!
//! A new option has several places:
//!
//! 1. The field here, its default in [`Options::new`], and its effect in `layout.rs`, `format/` or
//!    `encode/`. A feature bit of its own is set in `encode/superblock.rs`.
//! 2. `src/cli/file_system.rs`: the flag, and its conversion to the field. The table of flags in
//!    the documentation lists it. `src/mke2fs/format.rs` passes it to mke2fs, or
//!    `src/cli/arguments.rs` refuses the two together.
//! 3. Tests: a row in `ext4/tests/oracle/setup.rs` and `ext4/tests/golden.rs`, the strategy in
//!    `ext4/tests/misuse.rs`, `fuzz/src/tree.rs`, and a row with a digest in `tests/golden.rs`.

use crate::error::FormatError;
use crate::units::BlockSize;

/// One MiB in bytes.
const MIB: u64 = 1 << 20;

/// Length in bytes of the boot area, which precedes the superblock and belongs to no file system.
pub const BOOT_AREA_LEN: usize = 1024;

/// Parameters of a file system. Everything else follows from the tree.
#[derive(Clone, Debug)]
pub struct Options {
    /// UUID of the file system.
    pub uuid: [u8; 16],
    /// Seed of the hashes of names in indexed directories (`s_hash_seed`).
    pub hash_seed: [u8; 16],
    /// Label of the file system.
    pub label: Label,
    /// Size of a block.
    pub block_size: BlockSize,
    /// Size of the file system.
    pub size: Size,
    /// Number of inodes.
    pub inodes: Inodes,
    /// Size of the journal, or none.
    pub journal: Journal,
    /// Reserves blocks for more group descriptors, so that the file system can grow
    /// (`resize_inode`).
    pub growth: bool,
    /// Stores values of extended attributes that fit neither the inode nor a block in attribute
    /// inodes (`ea_inode`, Linux 4.13). The feature is set only if the image has a value of this
    /// kind.
    pub large_xattrs: bool,
    /// Stores files of up to 128 bytes and small directories in their inodes (`inline_data`, Linux
    /// 3.8).
    pub inline_data: bool,
    /// Blocks that only root can use, in percent of all blocks, 0 to 50. A higher value counts as
    /// 50, the most that e2fsck accepts.
    pub reserved_percent: u8,
    /// Time of creation, of the last check and of the last write in the superblock, in seconds
    /// since 1970.
    pub created: u32,
    /// The first 1,024 bytes of the image, written unchanged: a boot loader, or anything else.
    /// Linux and e2fsprogs never touch them.
    pub boot_area: [u8; BOOT_AREA_LEN],
}

impl Options {
    /// Returns the defaults of mke2fs, without blocks reserved for root, and with a size that fits
    /// the content.
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
    /// A fixed size in bytes, rounded down to whole blocks.
    Fixed(u64),
    /// As large as the content requires, plus free space.
    Fit(Fit),
}

/// Constraints on the size of a file system that fits its content.
///
/// The size is the smallest one in whole MiB that satisfies all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Minimum of free space in bytes.
    pub free: u64,
    /// Minimum of free space in percent of what the content uses. The larger of this and
    /// [`Fit::free`] counts.
    pub free_percent: u32,
    /// Minimum of the size in bytes, capped at [`Fit::max`].
    pub min: u64,
    /// Maximum of the size in bytes.
    pub max: u64,
}

impl Default for Fit {
    /// 25 % of the content or 256 MiB of free space, whichever is more; a size of 1 GiB to 1 TiB.
    fn default() -> Self {
        Self {
            free: 256 * MIB,
            free_percent: 25,
            min: 1024 * MIB,
            max: 1024 * 1024 * MIB,
        }
    }
}

/// Number of inodes. A tree that has more inodes gets all that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inodes {
    /// One inode for this number of bytes of the file system.
    PerBytes(u32),
    /// At least this number of inodes. All groups have the same number, so the total stays
    /// slightly below 2^32.
    AtLeast(u32),
}

impl Default for Inodes {
    /// One inode for 16 KiB, the default of mke2fs (`inode_ratio`).
    fn default() -> Self {
        Self::PerBytes(16 * 1024)
    }
}

/// Size of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Journal {
    /// The size that mke2fs chooses for the size of the file system; no journal below 2,048
    /// blocks.
    #[default]
    Auto,
    /// A size in bytes, rounded up to whole blocks; at least 1,024 blocks.
    Bytes(u64),
    /// No journal.
    None,
}

/// Label of a file system: 0 to 16 bytes without NUL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label([u8; 16]);

impl Label {
    /// Creates a label.
    ///
    /// # Errors
    ///
    /// [`FormatError::InvalidLabel`] if `label` has more than 16 bytes or contains a NUL.
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

    /// The label, padded with NULs.
    pub(crate) fn bytes(self) -> [u8; 16] {
        self.0
    }
}
