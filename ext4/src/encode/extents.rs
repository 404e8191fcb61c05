//! Extent trees of any depth.

use zerocopy::IntoBytes;

use crate::checksum::Seed;
use crate::disk::extent::{ENTRY_LEN, ExtentHeader, ExtentIndex, ExtentLeaf, MAGIC, ROOT_ENTRIES, entries_per_block};
use crate::seal::{self, Sealed};
use crate::units::{BlockNr, BlockSize, Extent, hi, lo};

/// A block of the tree, and where it goes.
pub(crate) type NodeBlock = (BlockNr, Sealed<Vec<u8>>);

/// The tree of a file: its root for `i_block`, and its other nodes, at the blocks that `next_block` gives.
pub(crate) fn encode(
    extents: &[Extent],
    block_size: BlockSize,
    inode: Seed,
    mut next_block: impl FnMut() -> BlockNr,
) -> ([u8; 60], Vec<NodeBlock>) {
    let mut blocks = Vec::new();
    let mut depth = 0;
    let mut level: Vec<(u32, [u8; ENTRY_LEN])> = extents
        .iter()
        .map(|extent| (extent.logical, leaf_entry(extent)))
        .collect();
    while level.len() > ROOT_ENTRIES {
        level = level
            .chunks(entries_per_block(block_size))
            .map(|entries| {
                let nr = next_block();
                let node = node(entries, entries_per_block(block_size), depth, block_size.len());
                blocks.push((nr, seal::extent_block(node, inode)));
                (entries[0].0, index_entry(entries[0].0, nr))
            })
            .collect();
        depth += 1;
    }
    let root = node(&level, ROOT_ENTRIES, depth, 60);
    (root.try_into().expect("the root was made with this length"), blocks)
}

fn node(entries: &[(u32, [u8; ENTRY_LEN])], max: usize, depth: u16, len: usize) -> Vec<u8> {
    let count = |number: usize| u16::try_from(number).expect("a block has room for fewer than 2^16 entries");
    let header = ExtentHeader {
        magic: MAGIC.into(),
        entries: count(entries.len()).into(),
        max: count(max).into(),
        depth: depth.into(),
        generation: 0.into(),
    };
    let mut node = Vec::with_capacity(len);
    node.extend_from_slice(header.as_bytes());
    for (_, entry) in entries {
        node.extend_from_slice(entry);
    }
    node.resize(len, 0);
    node
}

fn leaf_entry(extent: &Extent) -> [u8; ENTRY_LEN] {
    zerocopy::transmute!(ExtentLeaf {
        block: extent.logical.into(),
        len: u16::try_from(extent.count).expect("at most 2^15 blocks").into(),
        start_hi: high16(extent.start).into(),
        start_lo: lo(extent.start.0).into(),
    })
}

fn index_entry(logical: u32, child: BlockNr) -> [u8; ENTRY_LEN] {
    zerocopy::transmute!(ExtentIndex {
        block: logical.into(),
        leaf_lo: lo(child.0).into(),
        leaf_hi: high16(child).into(),
        unused: 0.into(),
    })
}

fn high16(block: BlockNr) -> u16 {
    u16::try_from(hi(block.0)).expect("block numbers have 48 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::extent::node_blocks;

    #[test]
    fn the_blocks_made_are_the_blocks_counted() {
        for count in [0, 1, 4, 5, 84, 85, 336, 337, 84 * 84 * 4, 84 * 84 * 4 + 1] {
            let extents: Vec<_> = (0..count)
                .map(|index| Extent {
                    start: BlockNr(1000 + 2 * u64::from(index)),
                    logical: index,
                    count: 1,
                })
                .collect();
            let (_, blocks) = encode(&extents, BlockSize::Kib1, Seed::of_uuid(&[1; 16]), || BlockNr(7));
            assert_eq!(blocks.len() as u64, node_blocks(extents.len(), BlockSize::Kib1));
        }
    }
}
