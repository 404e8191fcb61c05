//! The index of a directory: a tree of hashes over blocks of entries (`parse_int_node` of e2fsck).

use std::collections::BTreeMap;

use zerocopy::FromBytes;

use super::entries::Directory;
use super::extents::Blocks;
use super::{Check, Problem};
use crate::disk::dir_entry::{
    INDEX_ROOT_INFO, IndexCountLimit, IndexEntry, IndexRootInfo, MAX_INDEX_LEVELS, MAX_LARGE_INDEX_LEVELS,
    index_entries, index_limit,
};
use crate::disk::features::Features;
use crate::disk::hash::HashVersion;
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Extent};

/// Hashes of the names below a node.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) first: u32,
    /// First hash of the next node; none for the last.
    pub(super) next: Option<u32>,
}

/// The blocks of a directory, by its index.
pub(super) struct Index {
    /// By block of the directory; none for one that is part of the index.
    blocks: BTreeMap<u32, Option<Range>>,
}

impl Index {
    /// Returns whether a block of the directory is part of the index.
    pub(super) fn is_node(&self, logical: u32) -> bool {
        matches!(self.blocks.get(&logical), Some(None))
    }

    pub(super) fn leaf(&self, logical: u32) -> Option<Range> {
        self.blocks.get(&logical).copied().flatten()
    }
}

impl<R: ReadAt> Check<R> {
    /// Checks the nodes of an index, from its root, which is the directory's first block.
    pub(super) fn index(
        &mut self,
        structure: Structure,
        directory: &mut Directory,
        blocks: &Blocks,
        root: &[u8],
    ) -> Result<Option<Index>, ReadError> {
        let (info, _) = IndexRootInfo::ref_from_prefix(&root[INDEX_ROOT_INFO..]).expect("a block has room for it");
        let levels = info.indirect_levels;
        let superblock = self.reader.superblock();
        let max_levels = if superblock.has(Features::LARGE_DIR) {
            MAX_LARGE_INDEX_LEVELS
        } else {
            MAX_INDEX_LEVELS
        };
        let is_right = info.is_valid() && usize::from(levels) < max_levels;
        let Some(version) = HashVersion::from_disk(info.hash_version).filter(|_| is_right) else {
            self.find(structure, Problem::IndexHeaderWrong);
            return Ok(None);
        };
        directory.hasher = Some(superblock.name_hasher(version));
        let mut index = Index {
            blocks: BTreeMap::from([(0, None)]),
        };
        let all = Range { first: 0, next: None };
        let mut pending = self.children(structure, root, true, all, levels, directory.seed.is_some());
        while let Some((logical, range, levels)) = pending.pop() {
            let is_leaf = levels.is_none();
            let held = index.blocks.insert(logical, is_leaf.then_some(range));
            if held.is_some() {
                self.find(structure, Problem::IndexBlockTwice { logical });
                continue;
            }
            let Some(block) = block_of(&blocks.extents, logical) else {
                self.find(structure, Problem::IndexBlockOutside { logical });
                continue;
            };
            let Some(levels) = levels else {
                continue;
            };
            let structure = Structure::IndexNode {
                ino: directory.ino.get(),
                block: block.get(),
            };
            if let Some(bytes) = self.filled_block(structure, block.get())? {
                pending.extend(self.children(structure, &bytes, false, range, levels, directory.seed.is_some()));
            }
        }
        let missing = blocks.extents.iter().find_map(|extent| {
            let mut all = extent.logical..=extent.logical + (extent.count - 1);
            all.find(|logical| !index.blocks.contains_key(logical))
        });
        if let Some(logical) = missing {
            self.find(structure, Problem::IndexBlockMissing { logical });
        }
        Ok(Some(index))
    }

    /// Checks a node. Returns the blocks below it: each with the hashes below it, and the levels of
    /// nodes below that, or none if it is a leaf.
    fn children(
        &mut self,
        structure: Structure,
        bytes: &[u8],
        is_root: bool,
        range: Range,
        levels: u8,
        has_sums: bool,
    ) -> Vec<(u32, Range, Option<u8>)> {
        let Some(start) = index_entries(bytes, is_root) else {
            self.find(structure, Problem::IndexNodeWrong);
            return Vec::new();
        };
        let (counts, _) = IndexCountLimit::ref_from_prefix(&bytes[start..]).expect("a block has room for it");
        let (limit, count) = (usize::from(counts.limit.get()), usize::from(counts.count.get()));
        if limit != index_limit(start, bytes.len(), has_sums) || count > limit || count == 0 {
            self.find(
                structure,
                Problem::IndexCountsWrong {
                    entries: counts.count.get(),
                    room: counts.limit.get(),
                },
            );
            return Vec::new();
        }
        let entries = &bytes[start..start + count * size_of::<IndexEntry>()];
        let entries = <[IndexEntry]>::ref_from_bytes(entries).expect("entries have their length");
        let mut below: Vec<(u32, Range, Option<u8>)> = Vec::with_capacity(count);
        for (position, entry) in entries.iter().enumerate() {
            // The first has no hash: it has all from where the node begins.
            let first = if position == 0 { range.first } else { entry.hash.get() };
            let is_right = below.last().is_none_or(|(_, last, _)| last.first <= first)
                && range.next.is_none_or(|next| first & !1 <= next & !1);
            self.expect(is_right, structure, Problem::IndexOutOfOrder { hash: first });
            let next = entries.get(position + 1).map(|next| next.hash.get()).or(range.next);
            below.push((entry.child(), Range { first, next }, levels.checked_sub(1)));
        }
        below
    }
}

/// The block of the image that holds a block of a file.
pub(super) fn block_of(extents: &[Extent], logical: u32) -> Option<BlockNr> {
    let after = extents.partition_point(|extent| extent.logical <= logical);
    let extent = extents.get(after.checked_sub(1)?)?;
    let offset = logical - extent.logical;
    (offset < extent.count).then(|| extent.start + u64::from(offset))
}
