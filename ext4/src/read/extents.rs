//! One walk over extent trees and block maps, for all that ask which blocks of an image hold what
//! of a file.
//!
//! The walk knows the structures and what must hold between them. A [`Visitor`] knows which nodes
//! to look into, and what a fault means: the end of reading, or a finding.

use zerocopy::FromBytes;

use super::sums::is_right_extent_node;
use super::{ReadError, Structure};
use crate::checksum::Seed;
use crate::disk::block_map::{self, DIRECT};
use crate::disk::extent::{
    ENTRY_LEN, ExtentHeader, ExtentIndex, ExtentLeaf, MAGIC, MAX_DEPTH, ROOT_ENTRIES, max_entries,
};
use crate::disk::inode::BLOCK_LEN;
use crate::units::{BlockNr, Extent, Ino, as_chunks};

/// The root of an inode's extent tree or block map (`i_block`).
pub(crate) struct Root<'a> {
    pub(crate) bytes: &'a [u8; BLOCK_LEN],
    /// It is that of an extent tree. Block maps are what ext2 and ext3 have instead.
    pub(crate) is_tree: bool,
    /// Size of a block in bytes.
    pub(crate) block_size: usize,
    /// Seed of the nodes' checksums, if they are to be verified.
    pub(crate) seed: Option<Seed>,
}

/// A node below the root.
pub(crate) struct Node {
    pub(crate) block: BlockNr,
    /// Levels of a tree's nodes below it, or of a map's blocks, content included.
    level: u16,
    /// First block of the file that belongs below it.
    pub(crate) first: u64,
}

/// Fault of a root or a node.
pub(crate) enum Fault {
    /// The header of a node of a tree; the node is left out.
    Header,
    /// The checksum of a node.
    Checksum,
    /// A node begins at a block of the file where it does not belong.
    Order {
        /// Number of the block in the file.
        logical: u32,
    },
    /// An extent is empty, or not where it belongs; it is left out.
    Extent {
        /// Number of its first block in the file.
        logical: u32,
        count: u32,
    },
    /// A map leads to a block of a file that is too far from its start; it is left out.
    TooFar {
        /// Number of the block in the file.
        logical: u64,
    },
}

/// Policy of a walk: the answer to all that it meets. `node` is the block where that lies; `None`
/// in the root.
pub(crate) trait Visitor {
    /// Reads a node; none leaves it out.
    fn node(&mut self, node: &Node) -> Result<Option<Vec<u8>>, ReadError>;

    /// Takes an extent, which may lie anywhere in the image or outside of it. Those of a map have
    /// one block each, and are written.
    fn extent(&mut self, node: Option<&Node>, extent: Extent, is_written: bool) -> Result<(), ReadError>;

    /// Takes note of a fault; an error ends the walk.
    fn fault(&mut self, node: Option<&Node>, fault: Fault) -> Result<(), ReadError>;
}

/// Goes through all extents of an inode, in the order of the file.
///
/// Levels get fewer from node to node and extents ascend, so no damaged tree goes on in circles.
/// The nodes of a damaged map may: a visitor has to leave those out that it has seen.
pub(crate) fn walk(root: &Root<'_>, visitor: &mut impl Visitor) -> Result<(), ReadError> {
    let mut walk = Walk { root, visitor, next: 0 };
    let mut pending = walk.children(root.bytes, None)?;
    pending.reverse();
    while let Some(node) = pending.pop() {
        if let Some(bytes) = walk.visitor.node(&node)? {
            let children = walk.children(&bytes, Some(&node))?;
            pending.extend(children.into_iter().rev());
        }
    }
    Ok(())
}

struct Walk<'a, V> {
    root: &'a Root<'a>,
    visitor: &'a mut V,
    /// First block of the file that an extent may still have.
    next: u64,
}

impl<V: Visitor> Walk<'_, V> {
    /// Visits the extents in a root or a node, and returns the nodes below it.
    fn children(&mut self, bytes: &[u8], node: Option<&Node>) -> Result<Vec<Node>, ReadError> {
        if self.root.is_tree {
            self.tree_node(bytes, node)
        } else {
            self.map_node(bytes, node)
        }
    }

    fn tree_node(&mut self, bytes: &[u8], node: Option<&Node>) -> Result<Vec<Node>, ReadError> {
        let (header, entries) = ExtentHeader::ref_from_prefix(bytes).expect("a node has room for its header");
        let room = match node {
            Some(_) => max_entries(bytes.len()),
            None => ROOT_ENTRIES,
        };
        let (count, max) = (usize::from(header.entries.get()), usize::from(header.max.get()));
        let depth = header.depth.get();
        let is_right = header.magic.get() == MAGIC
            && (room.saturating_sub(2)..=room).contains(&max)
            && count <= max
            && node.map_or(depth <= MAX_DEPTH, |node| depth == node.level && count > 0);
        if !is_right {
            self.visitor.fault(node, Fault::Header)?;
            return Ok(Vec::new());
        }
        let is_wrong = |seed| !is_right_extent_node(bytes, header, seed);
        if node.is_some() && self.root.seed.is_some_and(is_wrong) {
            self.visitor.fault(node, Fault::Checksum)?;
        }
        let (entries, _) = as_chunks::<ENTRY_LEN>(&entries[..count * ENTRY_LEN]);
        if depth == 0 {
            self.leaf(entries, node)?;
            return Ok(Vec::new());
        }
        let mut below: Vec<Node> = Vec::with_capacity(count);
        for entry in entries {
            let index = ExtentIndex::ref_from_bytes(entry).expect("an entry has its length");
            let logical = index.logical();
            let first = u64::from(logical);
            let is_right = match below.last() {
                Some(last) => first > last.first,
                None => node.is_none_or(|node| first == node.first),
            };
            if !is_right {
                self.visitor.fault(node, Fault::Order { logical })?;
            }
            below.push(Node {
                block: BlockNr(index.child()),
                level: depth - 1,
                first,
            });
        }
        Ok(below)
    }

    fn leaf(&mut self, entries: &[[u8; ENTRY_LEN]], node: Option<&Node>) -> Result<(), ReadError> {
        for (position, entry) in entries.iter().enumerate() {
            let leaf = ExtentLeaf::ref_from_bytes(entry).expect("an entry has its length");
            let extent = leaf.extent();
            let Extent { logical, count, .. } = extent;
            let first = u64::from(logical);
            let end = first + u64::from(count);
            let begins_right = position > 0 || node.is_none_or(|node| first == node.first);
            if count == 0 || first < self.next || end > 1 << 32 || !begins_right {
                self.visitor.fault(node, Fault::Extent { logical, count })?;
                continue;
            }
            self.next = end;
            self.visitor.extent(node, extent, !leaf.is_unwritten())?;
        }
        Ok(())
    }

    /// A block of numbers: of content, or of blocks of numbers of one to three levels.
    fn map_node(&mut self, bytes: &[u8], node: Option<&Node>) -> Result<Vec<Node>, ReadError> {
        let per_block = block_map::numbers_per_block(self.root.block_size) as u64;
        let mut first = node.map_or(0, |node| node.first);
        let mut below = Vec::new();
        for (index, number) in block_map::numbers(bytes).enumerate() {
            // The first twelve numbers of the root name blocks of content, and each other one more
            // levels.
            let in_root = || u16::try_from((index + 1).saturating_sub(DIRECT)).expect("there are 15");
            let level = node.map_or_else(in_root, |node| node.level - 1);
            let block = BlockNr(number.into());
            let logical = first;
            first += per_block.pow(level.into());
            match (block.get(), level, u32::try_from(logical)) {
                (0, ..) => {}
                (_, 0, Ok(logical)) => {
                    let extent = Extent {
                        start: block,
                        logical,
                        count: 1,
                    };
                    self.visitor.extent(node, extent, true)?;
                }
                (_, 0, Err(_)) => self.visitor.fault(node, Fault::TooFar { logical })?,
                _ => below.push(Node {
                    block,
                    level,
                    first: logical,
                }),
            }
        }
        Ok(below)
    }
}

impl Node {
    /// The node, for errors and findings.
    pub(crate) fn structure(&self, ino: Ino) -> Structure {
        Structure::ExtentNode {
            ino: ino.get(),
            block: self.block.get(),
        }
    }
}

impl Extent {
    /// Returns whether another extent goes on where this one ends, in the file and in the image.
    pub(crate) fn continues_with(self, next: Self) -> bool {
        self.logical.checked_add(self.count) == Some(next.logical) && self.range().end() == next.start
    }
}
