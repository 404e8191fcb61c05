//! The resize inode, which owns the blocks reserved for group descriptors, so that `resize2fs` finds them
//! (`ext2fs_create_resize_inode`).

use crate::disk::block_map::{self, numbers_per_block, reach};
use crate::disk::inode::BLOCK_LEN;
use crate::place::geometry::copies;
use crate::place::layout::Layout;
use crate::seal::{self, Sealed};
use crate::units::{BlockNr, lo};

/// The map of reserved blocks: a double-indirect block whose indirect blocks are the reserved blocks of group 0.
pub(crate) struct ReservedDescriptors {
    /// `i_block`: nothing but the double-indirect block.
    pub(crate) inode_block: [u8; BLOCK_LEN],
    /// Size in bytes: all that a double-indirect block can map.
    pub(crate) size: u64,
    /// Blocks in use.
    pub(crate) block_count: u64,
    /// The map, and the reserved blocks of group 0, each of which lists its likes in the other groups.
    pub(crate) blocks: Vec<(BlockNr, Sealed<Vec<u8>>)>,
}

/// The map for a layout that reserves blocks.
pub(crate) fn encode(layout: &Layout, map: BlockNr) -> ReservedDescriptors {
    let geometry = &layout.geometry;
    let block_size = geometry.block_size;
    let copies: Vec<u64> = copies(u64::from(layout.group_count)).skip(1).collect();

    let mut listed = vec![0; numbers_per_block(block_size.len())];
    let mut blocks = Vec::new();
    for index in layout.descriptor_blocks..layout.descriptor_blocks + layout.reserved_descriptor_blocks {
        let in_group = |group: u64| lo((geometry.group_start(group) + 1 + index).get());
        let place = usize::try_from(index).expect("half of a group at most") % listed.len();
        listed[place] = in_group(0);
        let likes: Vec<u32> = copies.iter().map(|&group| in_group(group)).collect();
        blocks.push((
            geometry.group_start(0) + 1 + index,
            indirect_block(&likes, block_size.len()),
        ));
    }
    blocks.insert(0, (map, indirect_block(&listed, block_size.len())));
    ReservedDescriptors {
        inode_block: block_map::double_indirect_root(lo(map.get())),
        size: reach(2, block_size.len()) << block_size.log2(),
        block_count: 1 + layout.reserved_descriptor_blocks * (1 + copies.len() as u64),
        blocks,
    }
}

fn indirect_block(blocks: &[u32], len: usize) -> Sealed<Vec<u8>> {
    let mut block = block_map::encode(blocks);
    block.resize(len, 0);
    seal::indirect_block(block)
}
