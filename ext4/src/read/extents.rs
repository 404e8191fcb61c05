//! Walks extent trees and block maps, for all code that needs to know which blocks of an image a
//! file has.
//!
//! The walk knows the structures and checks the rules between them. A [`MapVisitor`] chooses which
//! nodes to read, and what to do about a fault: stop with an error, or report it and continue.

use zerocopy::FromBytes;

use super::checksums::extent_node_checksum_ok;
use super::{ReadError, Structure};
use crate::checksum::Seed;
use crate::disk::block_map::{self, DIRECT};
use crate::disk::extent::{
    ENTRY_LEN, ExtentHeader, ExtentIndex, ExtentLeaf, MAGIC, MAX_DEPTH, ROOT_ENTRIES, max_entries,
};
use crate::disk::inode::BLOCK_LEN;
use crate::units::{BlockNr, Extent, Ino, as_chunks};

/// Root of an inode's extent tree or block map (`i_block`).
pub(crate) struct MapRoot<'a> {
    pub(crate) bytes: &'a [u8; BLOCK_LEN],
    /// Set for an extent tree, clear for a block map.
    pub(crate) is_tree: bool,
    /// Size of a block in bytes.
    pub(crate) block_size: usize,
    /// Seed of the checksums of nodes, if they are to be verified.
    pub(crate) seed: Option<Seed>,
}

/// Node below the root, a block.
pub(crate) struct MapNode {
    pub(crate) block: BlockNr,
    /// Levels below the node: of nodes in a tree, or of indirect blocks and content in a map.
    level: u16,
    /// First block of the file that the node maps.
    pub(crate) first: u64,
}

/// Fault in the root or of a node.
pub(crate) enum MapFault {
    /// The header of a tree's node is invalid. The walk skips the node.
    Header,
    /// The checksum of a node is wrong.
    Checksum,
    /// A node begins at the wrong block of the file.
    Order {
        /// First block of the file that the node maps.
        logical: u32,
    },
    /// An extent is empty or out of order. The walk skips it.
    Extent {
        /// First block of the file that the extent maps.
        logical: u32,
        count: u32,
    },
    /// A map leads to a block whose number in the file exceeds 32 bits. The walk skips it.
    TooFar {
        /// Number of the block in the file.
        logical: u64,
    },
}

/// Receives nodes, extents and faults from a walk. In the arguments, `node` is the node that
/// contains the extent or fault, or `None` for the root.
pub(crate) trait MapVisitor {
    /// Reads a node, or returns `None` to skip it.
    fn read_node(&mut self, node: &MapNode) -> Result<Option<Vec<u8>>, ReadError>;

    /// Receives an extent, whose blocks may lie outside of the image. Extents of a block map have
    /// one block each and are written.
    fn visit_extent(&mut self, node: Option<&MapNode>, extent: Extent, is_written: bool) -> Result<(), ReadError>;

    /// Receives a fault. An error stops the walk.
    fn visit_fault(&mut self, node: Option<&MapNode>, fault: MapFault) -> Result<(), ReadError>;
}

/// Visits all extents of an inode, in the order of the file.
///
/// The walk of a tree ends: the level decreases with each node. The nodes of a damaged block map
/// may form a cycle, so the visitor must skip nodes that it has seen.
pub(crate) fn walk_map(root: &MapRoot<'_>, visitor: &mut impl MapVisitor) -> Result<(), ReadError> {
    let mut walk = MapWalk {
        root,
        visitor,
        next_logical: 0,
    };
    let mut pending = walk.visit_node(root.bytes, None)?;
    pending.reverse();
    while let Some(node) = pending.pop() {
        if let Some(bytes) = walk.visitor.read_node(&node)? {
            let children = walk.visit_node(&bytes, Some(&node))?;
            pending.extend(children.into_iter().rev());
        }
    }
    Ok(())
}

struct MapWalk<'a, V> {
    root: &'a MapRoot<'a>,
    visitor: &'a mut V,
    /// First block of the file that the next extent may map.
    next_logical: u64,
}

impl<V: MapVisitor> MapWalk<'_, V> {
    /// Visits the extents in the root or in a node, and returns the nodes below it.
    fn visit_node(&mut self, bytes: &[u8], node: Option<&MapNode>) -> Result<Vec<MapNode>, ReadError> {
        if self.root.is_tree {
            self.visit_tree_node(bytes, node)
        } else {
            self.visit_map_block(bytes, node)
        }
    }

    fn visit_tree_node(&mut self, bytes: &[u8], node: Option<&MapNode>) -> Result<Vec<MapNode>, ReadError> {
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
            self.visitor.visit_fault(node, MapFault::Header)?;
            return Ok(Vec::new());
        }
        let is_wrong = |seed| !extent_node_checksum_ok(bytes, header, seed);
        if node.is_some() && self.root.seed.is_some_and(is_wrong) {
            self.visitor.visit_fault(node, MapFault::Checksum)?;
        }
        let (entries, _) = as_chunks::<ENTRY_LEN>(&entries[..count * ENTRY_LEN]);
        if depth == 0 {
            self.visit_leaf(entries, node)?;
            return Ok(Vec::new());
        }
        let mut children: Vec<MapNode> = Vec::with_capacity(count);
        for entry in entries {
            let index = ExtentIndex::ref_from_bytes(entry).expect("an entry has its length");
            let logical = index.logical();
            let first = u64::from(logical);
            let is_right = match children.last() {
                Some(last) => first > last.first,
                None => node.is_none_or(|node| first == node.first),
            };
            if !is_right {
                self.visitor.visit_fault(node, MapFault::Order { logical })?;
            }
            children.push(MapNode {
                block: BlockNr(index.child()),
                level: depth - 1,
                first,
            });
        }
        Ok(children)
    }

    fn visit_leaf(&mut self, entries: &[[u8; ENTRY_LEN]], node: Option<&MapNode>) -> Result<(), ReadError> {
        for (position, entry) in entries.iter().enumerate() {
            let leaf = ExtentLeaf::ref_from_bytes(entry).expect("an entry has its length");
            let extent = leaf.extent();
            let Extent { logical, count, .. } = extent;
            let first = u64::from(logical);
            let end = first + u64::from(count);
            let starts_in_order = position > 0 || node.is_none_or(|node| first == node.first);
            if count == 0 || first < self.next_logical || end > 1 << 32 || !starts_in_order {
                self.visitor.visit_fault(node, MapFault::Extent { logical, count })?;
                continue;
            }
            self.next_logical = end;
            self.visitor.visit_extent(node, extent, !leaf.is_unwritten())?;
        }
        Ok(())
    }

    /// Visits an indirect block or `i_block`: its numbers name blocks of content, or indirect
    /// blocks.
    fn visit_map_block(&mut self, bytes: &[u8], node: Option<&MapNode>) -> Result<Vec<MapNode>, ReadError> {
        let per_block = block_map::numbers_per_block(self.root.block_size) as u64;
        let mut first = node.map_or(0, |node| node.first);
        let mut children = Vec::new();
        for (index, number) in block_map::numbers(bytes).enumerate() {
            // The first twelve numbers of the root name blocks of content. The next three name
            // indirect blocks of one to three levels.
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
                    self.visitor.visit_extent(node, extent, true)?;
                }
                (_, 0, Err(_)) => self.visitor.visit_fault(node, MapFault::TooFar { logical })?,
                _ => children.push(MapNode {
                    block,
                    level,
                    first: logical,
                }),
            }
        }
        Ok(children)
    }
}

impl MapNode {
    /// Returns the node as a structure, for errors and findings.
    pub(crate) fn structure(&self, ino: Ino) -> Structure {
        Structure::ExtentNode {
            ino: ino.get(),
            block: self.block.get(),
        }
    }
}

impl Extent {
    /// Returns whether `next` continues this extent, both in the file and in the image.
    pub(crate) fn is_followed_by(self, next: Self) -> bool {
        self.logical.checked_add(self.count) == Some(next.logical) && self.range().end() == next.start
    }
}
