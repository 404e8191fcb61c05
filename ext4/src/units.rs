//! Units that must not be confused: block numbers, block ranges, extents, inode numbers, block
//! sizes.

use std::ops::Add;

use zerocopy::FromBytes;

/// Number of a block, counted from the start of the file system, 0 to 2^48 - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockNr(pub(crate) u64);

impl From<u64> for BlockNr {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl BlockNr {
    /// Returns the number as an integer.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// Byte offset of the block in the image.
    pub(crate) fn offset(self, block_size: BlockSize) -> u64 {
        self.0 << block_size.log2()
    }
}

impl Add<u64> for BlockNr {
    type Output = Self;

    fn add(self, blocks: u64) -> Self {
        Self(self.0 + blocks)
    }
}

/// Contiguous blocks of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockRange {
    /// The first block.
    pub start: BlockNr,
    /// Length in blocks.
    pub count: u64,
}

impl BlockRange {
    /// Returns the block after the last one.
    #[must_use]
    pub fn end(self) -> BlockNr {
        self.start + self.count
    }

    /// Iterates over the blocks.
    pub(crate) fn blocks(self) -> impl Iterator<Item = BlockNr> {
        (self.start.0..self.end().0).map(BlockNr)
    }

    /// Sorts ranges that have no block in common, and joins those that are adjacent.
    pub(crate) fn merge(ranges: &mut Vec<Self>) {
        ranges.sort_unstable();
        ranges.dedup_by(|next, last| {
            let touches = last.end() == next.start;
            if touches {
                last.count += next.count;
            }
            touches
        });
    }
}

/// Contiguous blocks of a file, and their position in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block in the image.
    pub(crate) start: BlockNr,
    /// Block of the file that the first block holds, counted from 0.
    pub(crate) logical: u32,
    /// Length in blocks, 1 to [`Extent::MAX_BLOCKS`].
    pub(crate) count: u32,
}

impl Extent {
    /// The blocks in the image.
    pub(crate) fn range(self) -> BlockRange {
        BlockRange {
            start: self.start,
            count: u64::from(self.count),
        }
    }
}

/// Number of an inode in the image, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub(crate) u32);

impl Ino {
    /// The root directory (`EXT4_ROOT_INO`).
    pub const ROOT: Self = Self(2);
    /// The inode whose blocks are the reserved group descriptors (`EXT4_RESIZE_INO`).
    pub(crate) const RESIZE: Self = Self(7);
    /// The journal (`EXT4_JOURNAL_INO`).
    pub(crate) const JOURNAL: Self = Self(8);
    /// The first inode that is not reserved (`EXT4_GOOD_OLD_FIRST_INO`). mke2fs uses it for
    /// `lost+found`.
    pub(crate) const FIRST: Self = Self(11);

    /// Creates an inode number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Returns the number as an integer.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Size of a block: 1, 2, 4 or 64 KiB.
///
/// Before Linux 6.15, a kernel only mounts file systems whose blocks are no larger than its pages
/// (4 KiB on most machines).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockSize {
    /// 1 KiB.
    Kib1,
    /// 2 KiB.
    Kib2,
    /// 4 KiB, the size that every tool expects.
    #[default]
    Kib4,
    /// 64 KiB.
    Kib64,
}

impl BlockSize {
    /// Binary logarithm of the size in bytes.
    pub(crate) const fn log2(self) -> u32 {
        match self {
            Self::Kib1 => 10,
            Self::Kib2 => 11,
            Self::Kib4 => 12,
            Self::Kib64 => 16,
        }
    }

    /// Returns the size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        1 << self.log2()
    }

    /// The size in bytes, as a length in memory.
    pub(crate) const fn len(self) -> usize {
        1 << self.log2()
    }

    /// Number of blocks that `bytes` bytes fill, the last one perhaps in part.
    pub(crate) const fn blocks(self, bytes: u64) -> u64 {
        bytes.div_ceil(1 << self.log2())
    }
}

/// Low 32 bits of a number that the disk stores in two fields.
#[expect(clippy::cast_possible_truncation, reason = "the other bits go to `hi`")]
pub(crate) const fn lo(number: u64) -> u32 {
    number as u32
}

/// High 32 bits of a number that the disk stores in two fields.
pub(crate) const fn hi(number: u64) -> u32 {
    (number >> 32) as u32
}

/// Low 16 bits of a number that the disk stores in two fields.
#[expect(clippy::cast_possible_truncation, reason = "the other bits go to `hi16`")]
pub(crate) const fn lo16(number: u32) -> u16 {
    number as u16
}

/// High 16 bits of a number that the disk stores in two fields.
pub(crate) const fn hi16(number: u32) -> u16 {
    (number >> 16) as u16
}

/// Reinterprets the bits as a signed number in two's complement.
pub(crate) fn signed(number: u32) -> i32 {
    i32::from_ne_bytes(number.to_ne_bytes())
}

/// Reinterprets the bits of a signed number in two's complement.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::from_ne_bytes(number.to_ne_bytes())
}

/// Sign-extends a byte in two's complement.
pub(crate) fn sign_extend(byte: u8) -> u32 {
    u32::from(byte ^ 0x80).wrapping_sub(0x80)
}

/// Splits bytes into arrays of length `N` and a rest shorter than `N`.
pub(crate) fn as_chunks<const N: usize>(bytes: &[u8]) -> (&[[u8; N]], &[u8]) {
    <[[u8; N]]>::ref_from_prefix(bytes).expect("bytes lie at any address")
}

/// Joins a number that the disk stores in two fields of 32 bits.
pub(crate) fn join(lo: u32, hi: u32) -> u64 {
    u64::from(hi) << 32 | u64::from(lo)
}

/// Joins a number that the disk stores in two fields of 16 bits.
pub(crate) fn join16(lo: u16, hi: u16) -> u32 {
    u32::from(hi) << 16 | u32::from(lo)
}
