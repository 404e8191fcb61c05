//! The resize inode, which owns the blocks reserved for group descriptors, so that `resize2fs` finds them
//! (`ext2fs_create_resize_inode`).

use crate::place::geometry::copies;
use crate::place::layout::Layout;
use crate::seal::{self, Sealed};
use crate::units::{BlockNr, lo};

/// The map of reserved blocks: a double-indirect block whose indirect blocks are the reserved blocks of group 0.
pub(crate) struct ReservedDescriptors {
    /// `i_block`: nothing but the double-indirect block.
    pub(crate) inode_block: [u8; 60],
    /// Size in bytes: all that a double-indirect block can map.
    pub(crate) size: u64,
    /// Blocks in use.
    pub(crate) block_count: u64,
    /// The map, and the reserved blocks of group 0, each of which lists its likes in the other groups.
    pub(crate) blocks: Vec<(BlockNr, Sealed<Vec<u8>>)>,
}

/// Index of the double-indirect block in `i_block` (`EXT2_DIND_BLOCK`).
const DOUBLE_INDIRECT: usize = 13;

/// The map for a layout that reserves blocks.
pub(crate) fn encode(layout: &Layout, map: BlockNr) -> ReservedDescriptors {
    let geometry = &layout.geometry;
    let block_size = geometry.block_size;
    let words_per_block = u64::from(block_size.bytes() / 4);
    let copies: Vec<u64> = copies(u64::from(layout.group_count)).skip(1).collect();

    let mut listed = vec![0; usize::try_from(words_per_block).expect("at most 2^14")];
    let mut blocks = Vec::new();
    for index in layout.descriptor_blocks..layout.descriptor_blocks + layout.reserved_descriptor_blocks {
        let in_group = |group: u64| lo((geometry.group_start(group) + 1 + index).get());
        listed[usize::try_from(index % words_per_block).expect("at most 2^14")] = in_group(0);
        let likes: Vec<u32> = copies.iter().map(|&group| in_group(group)).collect();
        blocks.push((
            geometry.group_start(0) + 1 + index,
            indirect_block(&likes, block_size.len()),
        ));
    }
    blocks.insert(0, (map, indirect_block(&listed, block_size.len())));

    let mut inode_block = [0; 60];
    inode_block[4 * DOUBLE_INDIRECT..4 * DOUBLE_INDIRECT + 4].copy_from_slice(&lo(map.get()).to_le_bytes());
    ReservedDescriptors {
        inode_block,
        size: (words_per_block * words_per_block + words_per_block + 12) * u64::from(block_size.bytes()),
        block_count: 1 + layout.reserved_descriptor_blocks * (1 + copies.len() as u64),
        blocks,
    }
}

fn indirect_block(blocks: &[u32], len: usize) -> Sealed<Vec<u8>> {
    let mut block: Vec<u8> = blocks.iter().flat_map(|nr| nr.to_le_bytes()).collect();
    block.resize(len, 0);
    seal::indirect_block(block)
}
