//! The resize inode, which owns the blocks reserved for group descriptors, where `resize2fs` finds
//! them (`ext2fs_create_resize_inode`).

use crate::disk::block_map::{self, numbers_per_block, reachable_blocks};
use crate::disk::inode::BLOCK_LEN;
use crate::layout::Layout;
use crate::layout::geometry;
use crate::seal::{self, Sealed};
use crate::units::{BlockNr, lo};

/// The resize inode's block map: a double-indirect block whose indirect blocks are the reserved
/// descriptor blocks of group 0.
pub(crate) struct ResizeInode {
    /// `i_block`, which contains only the double-indirect block.
    pub(crate) inode_block: [u8; BLOCK_LEN],
    /// Size in bytes: the maximum that a double-indirect block can map.
    pub(crate) size: u64,
    /// Blocks in use.
    pub(crate) block_count: u64,
    /// The double-indirect block, and the reserved blocks of group 0. Each of these lists its
    /// backups in the other groups.
    pub(crate) blocks: Vec<(BlockNr, Sealed<Vec<u8>>)>,
}

/// Encodes the map for a layout with reserved blocks. `map` is the number of the double-indirect
/// block.
pub(crate) fn encode(layout: &Layout, map: BlockNr) -> ResizeInode {
    let geometry = &layout.geometry;
    let block_size = geometry.block_size;
    let backup_groups: Vec<u64> = geometry::backup_groups(u64::from(layout.group_count)).skip(1).collect();

    let mut numbers = vec![0; numbers_per_block(block_size.len())];
    let mut blocks = Vec::new();
    for index in layout.descriptor_blocks..layout.descriptor_blocks + layout.reserved_descriptor_blocks {
        let in_group = |group: u64| lo((geometry.group_start(group) + 1 + index).get());
        let slot = usize::try_from(index).expect("half of a group at most") % numbers.len();
        numbers[slot] = in_group(0);
        let backups: Vec<u32> = backup_groups.iter().map(|&group| in_group(group)).collect();
        blocks.push((
            geometry.group_start(0) + 1 + index,
            indirect_block(&backups, block_size.len()),
        ));
    }
    blocks.insert(0, (map, indirect_block(&numbers, block_size.len())));
    ResizeInode {
        inode_block: block_map::double_indirect_root(lo(map.get())),
        size: reachable_blocks(2, block_size.len()) << block_size.log2(),
        block_count: 1 + layout.reserved_descriptor_blocks * (1 + backup_groups.len() as u64),
        blocks,
    }
}

/// Encodes a block of `len` bytes that lists block numbers.
fn indirect_block(blocks: &[u32], len: usize) -> Sealed<Vec<u8>> {
    let mut block = block_map::encode(blocks);
    block.resize(len, 0);
    seal::indirect_block(block)
}
