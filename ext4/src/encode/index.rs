//! [`DirectoryIndex`]: a tree of hashes over leaves of directory entries ("Hash Tree Directories"
//! in the kernel's documentation).

use std::ops::Range;

use zerocopy::IntoBytes;

use super::entries::{DirectoryContext, DirectoryEntry, encode_leaf, push_entry};
use crate::disk::dir_entry::{
    DirEntry, INDEX_BLOCK_MASK, INDEX_NODE_ENTRIES, INDEX_ROOT_ENTRIES, IndexCountLimit, IndexEntry, IndexRootInfo,
    MAX_INDEX_LEVELS, MAX_LARGE_INDEX_LEVELS, index_limit,
};
use crate::disk::hash::NameHash;
use crate::disk::superblock::HASH_HALF_MD4;
use crate::error::FormatError;
use crate::seal::{self, Sealed};
use crate::units::BlockSize;

/// Maximum size in bytes of a directory without the feature `large_dir`, without which the high
/// half of the size is ignored (`ext4_isize`).
const MAX_LEN: u64 = u32::MAX as u64;
/// Number of blocks of a directory that index nodes can refer to.
const MAX_BLOCKS: usize = INDEX_BLOCK_MASK as usize + 1;

/// Child of a node. `hash` is the lowest hash below it, with bit 0 set if the previous child ends
/// with the same hash.
#[derive(Clone, Copy, Debug)]
struct IndexChild {
    hash: u32,
    block: u32,
}

/// The entries need more leaves than an index can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyLeaves {
    leaves: usize,
    max: usize,
}

impl TooManyLeaves {
    /// Returns the error for the directory with this path.
    pub(crate) fn for_path(self, path: String) -> FormatError {
        FormatError::DirectoryTooLarge {
            path,
            blocks: self.leaves as u64,
            max: self.max as u64,
        }
    }
}

/// Plan of an indexed directory: entries ordered by hash and divided into leaves.
pub(crate) struct DirectoryIndex<'name> {
    entries: Vec<(NameHash, DirectoryEntry<'name>)>,
    /// Entries of each leaf, as a range of indexes.
    leaves: Vec<Range<usize>>,
    /// Number of nodes of each level, starting with the root's, which is 1.
    levels: Vec<usize>,
}

impl<'name> DirectoryIndex<'name> {
    /// Sorts the entries by hash, and fills leaves with them.
    pub(crate) fn plan(entries: Vec<DirectoryEntry<'name>>, context: &DirectoryContext) -> Result<Self, TooManyLeaves> {
        let mut entries: Vec<_> = entries
            .into_iter()
            .map(|entry| (context.hasher.hash(entry.name), entry))
            .collect();
        entries.sort_unstable_by_key(|(hash, entry)| (*hash, entry.name));

        let mut leaves: Vec<Range<usize>> = Vec::new();
        let mut filled = 0;
        for (index, (_, entry)) in entries.iter().enumerate() {
            filled += entry.len();
            match leaves.last_mut() {
                Some(leaf) if filled <= context.capacity() => leaf.end = index + 1,
                _ => {
                    leaves.push(index..index + 1);
                    filled = entry.len();
                }
            }
        }

        let levels = level_sizes(leaves.len(), context.block_size)?;
        Ok(Self {
            entries,
            leaves,
            levels,
        })
    }

    /// Returns whether readers need the feature `large_dir`.
    pub(crate) fn needs_large_dir(&self, block_size: BlockSize) -> bool {
        self.levels.len() > MAX_INDEX_LEVELS || self.block_count() << block_size.log2() > MAX_LEN
    }

    /// Number of blocks, including leaves.
    pub(crate) fn block_count(&self) -> u64 {
        (self.levels.iter().sum::<usize>() + self.leaves.len()) as u64
    }

    /// Passes each block to `write`: the root, the other nodes level by level, the leaves.
    pub(crate) fn encode<E>(
        &self,
        context: &DirectoryContext,
        mut write: impl FnMut(Sealed<Vec<u8>>) -> Result<(), E>,
    ) -> Result<(), E> {
        let first_leaf = self.levels.iter().sum::<usize>();
        let mut children: Vec<IndexChild> = (0..self.leaves.len())
            .map(|leaf| self.leaf_child(leaf, first_leaf))
            .collect();
        let mut levels = Vec::new();
        let mut first = first_leaf;
        for &count in self.levels[1..].iter().rev() {
            first -= count;
            let nodes: Vec<_> = children
                .chunks(fanout(INDEX_NODE_ENTRIES, context.block_size))
                .map(<[IndexChild]>::to_vec)
                .collect();
            children = (first..)
                .zip(&nodes)
                .map(|(block, node)| IndexChild {
                    hash: node[0].hash,
                    block: block_number(block),
                })
                .collect();
            levels.push(nodes);
        }
        write(encode_root(&children, self.levels.len() - 1, context))?;
        for children in levels.iter().rev().flatten() {
            write(encode_node(children, context))?;
        }
        for range in &self.leaves {
            write(encode_leaf(
                self.entries[range.clone()].iter().map(|(_, entry)| entry),
                context,
            ))?;
        }
        Ok(())
    }

    /// Returns the entry for a leaf in the nodes above it. The first leaf has the block number
    /// `first_leaf`.
    fn leaf_child(&self, leaf: usize, first_leaf: usize) -> IndexChild {
        let start = self.leaves[leaf].start;
        let hash = self.entries[start].0.major;
        let continues = start > 0 && self.entries[start - 1].0.major == hash;
        IndexChild {
            hash: hash | u32::from(continues),
            block: block_number(first_leaf + leaf),
        }
    }
}

/// Number of nodes of each level above `leaves` leaves, starting with the root's.
fn level_sizes(leaves: usize, block_size: BlockSize) -> Result<Vec<usize>, TooManyLeaves> {
    let max = max_leaves(block_size);
    if leaves > max {
        return Err(TooManyLeaves { leaves, max });
    }
    let mut levels = vec![];
    let mut children = leaves;
    while children > fanout(INDEX_ROOT_ENTRIES, block_size) {
        children = children.div_ceil(fanout(INDEX_NODE_ENTRIES, block_size));
        levels.insert(0, children);
    }
    levels.insert(0, 1);
    Ok(levels)
}

/// Maximum number of leaves of an index.
fn max_leaves(block_size: BlockSize) -> usize {
    let below_root = fanout(INDEX_NODE_ENTRIES, block_size);
    let reached = (1..MAX_LARGE_INDEX_LEVELS).fold(fanout(INDEX_ROOT_ENTRIES, block_size), |reached, _| {
        reached.saturating_mul(below_root)
    });
    // The nodes are fewer than one percent of the blocks.
    reached.min(MAX_BLOCKS / 100 * 99)
}

/// Maximum number of children of a node: one fewer than it has room for.
///
/// tune2fs updates all checksums when it changes the UUID, but skips a node that is full, which
/// then has an invalid checksum (`rewrite_dir_block`).
fn fanout(header: usize, block_size: BlockSize) -> usize {
    index_limit(header, block_size.len(), true) - 1
}

fn block_number(block: usize) -> u32 {
    u32::try_from(block).expect("a directory has fewer blocks than u32 counts")
}

/// Encodes the root, which begins with the entries `.` and `..`.
fn encode_root(children: &[IndexChild], indirect_levels: usize, context: &DirectoryContext) -> Sealed<Vec<u8>> {
    let mut block = Vec::with_capacity(context.block_size.len());
    let [dot, dot_dot] = context.dots();
    push_entry(&mut block, &dot, dot.len());
    // To readers without support for indexes, this entry spans the rest of the block.
    push_entry(&mut block, &dot_dot, context.block_size.len() - dot.len());
    let indirect_levels = u8::try_from(indirect_levels).expect("a few levels");
    block.extend_from_slice(IndexRootInfo::new(HASH_HALF_MD4, indirect_levels).as_bytes());
    seal_node(block, INDEX_ROOT_ENTRIES, children, context)
}

/// Encodes a node below the root, which begins with an unused entry.
fn encode_node(children: &[IndexChild], context: &DirectoryContext) -> Sealed<Vec<u8>> {
    let mut block = Vec::with_capacity(context.block_size.len());
    block.extend_from_slice(DirEntry::unused(context.block_size.len()).as_bytes());
    seal_node(block, INDEX_NODE_ENTRIES, children, context)
}

/// Appends the children to the `header` bytes of a node, and seals it.
fn seal_node(
    mut block: Vec<u8>,
    header: usize,
    children: &[IndexChild],
    context: &DirectoryContext,
) -> Sealed<Vec<u8>> {
    let short = |number: usize| u16::try_from(number).expect("a block has room for fewer than 2^16 entries");
    for child in children {
        block.extend_from_slice(
            IndexEntry {
                hash: child.hash.into(),
                block: child.block.into(),
            }
            .as_bytes(),
        );
    }
    block.resize(context.block_size.len(), 0);
    // Replaces the hash of the first child, which covers all hashes below the second child's.
    let counts = IndexCountLimit {
        limit: short(index_limit(header, context.block_size.len(), true)).into(),
        count: short(children.len()).into(),
    };
    block[header..header + size_of::<IndexCountLimit>()].copy_from_slice(counts.as_bytes());
    seal::index_block(block, context.seed, header, children.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_has_three_levels_and_28_bits_of_blocks_at_most() {
        let mut largest = Vec::new();
        for block_size in [BlockSize::Kib1, BlockSize::Kib2, BlockSize::Kib4, BlockSize::Kib64] {
            let max = max_leaves(block_size);
            let levels = level_sizes(max, block_size).expect("the maximum is allowed");
            assert!(
                levels.len() <= 3 && levels.iter().sum::<usize>() + max <= 1 << 28,
                "{levels:?}"
            );
            assert_eq!(
                level_sizes(max + 1, block_size),
                Err(TooManyLeaves { leaves: max + 1, max })
            );
            largest.push(max);
        }
        // 122 in the root, and 125 in each node below.
        assert_eq!(largest[0], 122 * 125 * 125);
        assert_eq!(largest[3], (1 << 28) / 100 * 99);
    }

    #[test]
    fn the_error_for_too_many_leaves_contains_the_path() {
        let error = TooManyLeaves { leaves: 7, max: 6 }.for_path("/a/b".to_owned());
        assert_eq!(
            error.to_string(),
            "the names in the directory \"/a/b\" fill 7 blocks: at most 6 with this block size"
        );
    }
}
