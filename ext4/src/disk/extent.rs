//! Extent trees ("The Contents of `inode.i_block`", "Extent Tree" in the kernel's documentation).

use zerocopy::FromZeros;
use zerocopy::little_endian::{U16, U32};

use super::{assert_layout, split_numbers};
use crate::units::{BlockNr, BlockSize, Extent};

/// `eh_magic`.
pub(crate) const MAGIC: u16 = 0xF30A;

/// Maximum levels of nodes above the leaves (`EXT4_MAX_EXTENT_DEPTH`).
pub(crate) const MAX_DEPTH: u16 = 5;

/// Maximum blocks of a file: their numbers have 32 bits, and the last number is not used
/// (`EXT_MAX_BLOCKS`).
pub(crate) const MAX_FILE_BLOCKS: u64 = u32::MAX as u64;

impl Extent {
    /// Maximum length in blocks of an initialized extent, one that is not unwritten
    /// (`EXT_INIT_MAX_LEN`).
    pub(crate) const MAX_BLOCKS: u32 = 1 << 15;
}

/// Length in bytes of a node's header, and of each of its entries.
pub(crate) const ENTRY_LEN: usize = 12;
/// Entries that fit in the root, which lies in the inode.
pub(crate) const ROOT_ENTRIES: usize = 4;

/// Returns how many entries fit in a node that fills a block. The last bytes of the block hold its
/// checksum.
pub(crate) const fn entries_per_block(block_size: BlockSize) -> usize {
    max_entries(block_size.len())
}

/// Returns how many entries fit in a node of `len` bytes.
pub(crate) const fn max_entries(len: usize) -> usize {
    (len - ENTRY_LEN) / ENTRY_LEN
}

/// Returns the offset in bytes of the tail of a node with room for `max_entries` entries.
pub(crate) const fn tail_offset(max_entries: usize) -> usize {
    ENTRY_LEN + max_entries * ENTRY_LEN
}

/// Returns how many blocks a tree of `extent_count` extents takes besides its root.
pub(crate) fn node_blocks(extent_count: usize, block_size: BlockSize) -> u64 {
    let mut blocks = 0;
    let mut entries = extent_count;
    while entries > ROOT_ENTRIES {
        entries = entries.div_ceil(entries_per_block(block_size));
        blocks += entries as u64;
    }
    blocks
}

/// Header of a node, 12 bytes (`struct ext4_extent_header`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ExtentHeader {
    pub(crate) magic: U16,
    pub(crate) entries: U16,
    pub(crate) max: U16,
    pub(crate) depth: U16,
    pub(crate) generation: U32,
}

impl ExtentHeader {
    /// Returns the header of a node with `entries` entries and room for `max`.
    pub(crate) fn new(entries: usize, max: usize, depth: u16) -> Self {
        let count = |number: usize| u16::try_from(number).expect("a block has room for fewer than 2^16 entries");
        Self {
            magic: MAGIC.into(),
            entries: count(entries).into(),
            max: count(max).into(),
            depth: depth.into(),
            generation: 0.into(),
        }
    }
}

/// Entry of a leaf, an extent, 12 bytes (`struct ext4_extent`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ExtentLeaf {
    pub(crate) block: U32,
    pub(crate) len: U16,
    pub(crate) start_hi: U16,
    pub(crate) start_lo: U32,
}

impl ExtentLeaf {
    split_numbers! {
        /// First block in the image.
        start, set_start: 48 = start_lo, start_hi;
    }

    /// Returns the entry of an initialized extent.
    pub(crate) fn new(extent: &Extent) -> Self {
        let mut leaf = Self {
            block: extent.logical.into(),
            len: u16::try_from(extent.count).expect("at most 2^15 blocks").into(),
            ..Self::new_zeroed()
        };
        leaf.set_start(extent.start.get());
        leaf
    }

    /// Returns the first block of the file that the extent maps.
    pub(crate) fn logical(&self) -> u32 {
        self.block.get()
    }

    /// Returns the length in blocks, 0 to 2^15.
    pub(crate) fn len(&self) -> u32 {
        let len = u32::from(self.len.get());
        if self.is_unwritten() {
            len - Extent::MAX_BLOCKS
        } else {
            len
        }
    }

    /// Returns whether the extent is unwritten: its blocks were never written to and read as
    /// zeros. The length on the disk is then greater by 2^15.
    pub(crate) fn is_unwritten(&self) -> bool {
        u32::from(self.len.get()) > Extent::MAX_BLOCKS
    }

    /// Returns the extent, unwritten or not.
    pub(crate) fn extent(&self) -> Extent {
        Extent {
            start: BlockNr(self.start()),
            logical: self.logical(),
            count: self.len(),
        }
    }
}

/// Entry of a node above the leaves, 12 bytes (`struct ext4_extent_idx`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ExtentIndex {
    pub(crate) block: U32,
    pub(crate) leaf_lo: U32,
    pub(crate) leaf_hi: U16,
    pub(crate) unused: U16,
}

impl ExtentIndex {
    split_numbers! {
        /// Block of the child node.
        child, set_child: 48 = leaf_lo, leaf_hi;
    }

    /// Returns the entry of a child node whose first block of the file is `logical`.
    pub(crate) fn new(logical: u32, child: BlockNr) -> Self {
        let mut index = Self {
            block: logical.into(),
            ..Self::new_zeroed()
        };
        index.set_child(child.get());
        index
    }

    /// Returns the first block of the file that the child node maps.
    pub(crate) fn logical(&self) -> u32 {
        self.block.get()
    }
}

/// Tail of a node that fills a block, 4 bytes (`struct ext4_extent_tail`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ExtentTail {
    pub(crate) checksum: U32,
}

assert_layout!(ExtentTail: 4);
assert_layout!(ExtentHeader: 12, depth @ 6);
assert_layout!(ExtentLeaf: 12, start_lo @ 8);
assert_layout!(ExtentIndex: 12, leaf_hi @ 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_above_2_15_are_unwritten() {
        let leaf = |len: u16| ExtentLeaf {
            len: len.into(),
            ..ExtentLeaf::new_zeroed()
        };
        for len in 0..=u16::MAX {
            let expected = match len {
                0..=0x8000 => (len.into(), false),
                _ => (u32::from(len) - 0x8000, true),
            };
            assert_eq!((leaf(len).len(), leaf(len).is_unwritten()), expected, "{len:#x}");
        }
    }

    proptest::proptest! {
        #[test]
        fn extents_round_trip(start in 0_u64..1 << 48, logical: u32, count in 1..=Extent::MAX_BLOCKS) {
            let extent = Extent { start: BlockNr(start), logical, count };
            let leaf = ExtentLeaf::new(&extent);
            assert_eq!((leaf.extent(), leaf.is_unwritten()), (extent, false));
            let index = ExtentIndex::new(logical, BlockNr(start));
            assert_eq!((index.logical(), index.child()), (logical, start));
        }
    }

    #[test]
    fn four_extents_fit_in_the_inode_and_five_do_not() {
        assert_eq!(node_blocks(4, BlockSize::Kib4), 0);
        assert_eq!(node_blocks(5, BlockSize::Kib4), 1);
    }

    #[test]
    fn a_block_holds_340_extents_and_the_root_leads_to_four_blocks() {
        assert_eq!(node_blocks(340, BlockSize::Kib4), 1);
        assert_eq!(node_blocks(341, BlockSize::Kib4), 2);
        assert_eq!(node_blocks(4 * 340, BlockSize::Kib4), 4);
        assert_eq!(node_blocks(4 * 340 + 1, BlockSize::Kib4), 5 + 1);
    }
}
