//! Extent trees of any depth.

use zerocopy::IntoBytes;

use crate::checksum::Seed;
use crate::disk::extent::{ENTRY_LEN, ExtentHeader, ExtentIndex, ExtentLeaf, ROOT_ENTRIES, entries_per_block};
use crate::disk::inode::BLOCK_LEN;
use crate::seal::{self, Sealed};
use crate::units::{BlockNr, BlockSize, Extent};

/// A block of an extent tree, and its number.
pub(crate) type NodeBlock = (BlockNr, Sealed<Vec<u8>>);

/// Encodes the extent tree of a file. Returns its root for `i_block` and its other nodes, which
/// get the block numbers that `next_block` returns.
pub(crate) fn encode(
    extents: &[Extent],
    block_size: BlockSize,
    inode: Seed,
    mut next_block: impl FnMut() -> BlockNr,
) -> ([u8; BLOCK_LEN], Vec<NodeBlock>) {
    let mut blocks = Vec::new();
    let mut depth = 0;
    let mut level: Vec<(u32, [u8; ENTRY_LEN])> = extents
        .iter()
        .map(|extent| (extent.logical, zerocopy::transmute!(ExtentLeaf::new(extent))))
        .collect();
    while level.len() > ROOT_ENTRIES {
        level = level
            .chunks(entries_per_block(block_size))
            .map(|entries| {
                let nr = next_block();
                let node = node(entries, entries_per_block(block_size), depth, block_size.len());
                blocks.push((nr, seal::extent_block(node, inode)));
                let first = entries[0].0;
                (first, zerocopy::transmute!(ExtentIndex::new(first, nr)))
            })
            .collect();
        depth += 1;
    }
    let root = node(&level, ROOT_ENTRIES, depth, BLOCK_LEN);
    (root.try_into().expect("the root was made with this length"), blocks)
}

/// Encodes a node of `len` bytes with room for `max` entries.
fn node(entries: &[(u32, [u8; ENTRY_LEN])], max: usize, depth: u16, len: usize) -> Vec<u8> {
    let mut node = Vec::with_capacity(len);
    node.extend_from_slice(ExtentHeader::new(entries.len(), max, depth).as_bytes());
    for (_, entry) in entries {
        node.extend_from_slice(entry);
    }
    node.resize(len, 0);
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::extent::node_blocks;

    #[test]
    fn encode_makes_the_number_of_blocks_that_node_blocks_returns() {
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
