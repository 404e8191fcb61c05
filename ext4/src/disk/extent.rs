//! Extent trees ("The Contents of `inode.i_block`", "Extent Tree" in the kernel's documentation).

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::assert_layout;
use crate::units::BlockSize;

/// `eh_magic`.
pub(crate) const MAGIC: u16 = 0xF30A;

/// Length in bytes of each part of a node.
pub(crate) const ENTRY_LEN: usize = 12;
/// Entries of the root, which lies in the inode.
pub(crate) const ROOT_ENTRIES: usize = 4;

/// Entries of a node that fills a block, whose last bytes hold its checksum.
pub(crate) const fn entries_per_block(block_size: BlockSize) -> usize {
    (block_size.len() - ENTRY_LEN) / ENTRY_LEN
}

/// Blocks that the tree of so many extents needs besides its root.
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

/// Entry of a leaf, 12 bytes (`struct ext4_extent`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ExtentLeaf {
    pub(crate) block: U32,
    pub(crate) len: U16,
    pub(crate) start_hi: U16,
    pub(crate) start_lo: U32,
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

assert_layout!(ExtentHeader: 12, depth @ 6);
assert_layout!(ExtentLeaf: 12, start_lo @ 8);
assert_layout!(ExtentIndex: 12, leaf_hi @ 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_extents_lie_in_the_inode_and_five_do_not() {
        assert_eq!(node_blocks(4, BlockSize::Kib4), 0);
        assert_eq!(node_blocks(5, BlockSize::Kib4), 1);
    }

    #[test]
    fn a_block_holds_340_extents_and_four_of_them_still_need_no_level_between() {
        assert_eq!(node_blocks(340, BlockSize::Kib4), 1);
        assert_eq!(node_blocks(341, BlockSize::Kib4), 2);
        assert_eq!(node_blocks(4 * 340, BlockSize::Kib4), 4);
        assert_eq!(node_blocks(4 * 340 + 1, BlockSize::Kib4), 5 + 1);
    }
}
