//! Checks the index of a directory: a tree of hashes over blocks of entries (`parse_int_node` of
//! e2fsck).

use std::collections::BTreeMap;

use zerocopy::FromBytes;

use super::entries::CheckedDirectory;
use super::extents::FileBlocks;
use super::{Checker, Problem};
use crate::disk::dir_entry::{
    INDEX_ROOT_INFO, IndexCountLimit, IndexEntry, IndexRootInfo, MAX_INDEX_LEVELS, MAX_LARGE_INDEX_LEVELS,
    index_entries, index_limit,
};
use crate::disk::features::Features;
use crate::disk::hash::HashVersion;
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Extent};

/// Range of the hashes of the names below an index entry.
#[derive(Clone, Copy)]
pub(super) struct HashRange {
    pub(super) first: u32,
    /// First hash of the next entry, or `None` for the last.
    pub(super) next: Option<u32>,
}

/// Blocks of a directory according to its index.
pub(super) struct DirectoryIndex {
    /// By block of the directory: the hashes of the names in a leaf, or `None` for a block of the
    /// index.
    blocks: BTreeMap<u32, Option<HashRange>>,
}

impl DirectoryIndex {
    /// Returns whether a block of the directory is part of the index.
    pub(super) fn is_node(&self, logical: u32) -> bool {
        matches!(self.blocks.get(&logical), Some(None))
    }

    /// Returns the hashes of the names in a leaf, or `None` if the block is not a leaf.
    pub(super) fn leaf_range(&self, logical: u32) -> Option<HashRange> {
        self.blocks.get(&logical).copied().flatten()
    }
}

impl<R: ReadAt> Checker<R> {
    /// Checks the nodes of an index. Its root is in the first block of the directory.
    pub(super) fn check_index(
        &mut self,
        structure: Structure,
        directory: &mut CheckedDirectory,
        blocks: &FileBlocks,
        root: &[u8],
    ) -> Result<Option<DirectoryIndex>, ReadError> {
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
            self.report(structure, Problem::IndexHeaderWrong);
            return Ok(None);
        };
        directory.hasher = Some(superblock.name_hasher(version));
        let mut index = DirectoryIndex {
            blocks: BTreeMap::from([(0, None)]),
        };
        let all = HashRange { first: 0, next: None };
        let mut pending = self.check_index_node(structure, root, true, all, levels, directory.seed.is_some());
        while let Some((logical, range, levels)) = pending.pop() {
            let is_leaf = levels.is_none();
            let held = index.blocks.insert(logical, is_leaf.then_some(range));
            if held.is_some() {
                self.report(structure, Problem::IndexBlockTwice { logical });
                continue;
            }
            let Some(block) = image_block(&blocks.extents, logical) else {
                self.report(structure, Problem::IndexBlockOutside { logical });
                continue;
            };
            let Some(levels) = levels else {
                continue;
            };
            let structure = Structure::IndexNode {
                ino: directory.ino.get(),
                block: block.get(),
            };
            if let Some(bytes) = self.read_nonzero_block(structure, block.get())? {
                pending.extend(self.check_index_node(
                    structure,
                    &bytes,
                    false,
                    range,
                    levels,
                    directory.seed.is_some(),
                ));
            }
        }
        let missing = blocks.extents.iter().find_map(|extent| {
            let mut all = extent.logical..=extent.logical + (extent.count - 1);
            all.find(|logical| !index.blocks.contains_key(logical))
        });
        if let Some(logical) = missing {
            self.report(structure, Problem::IndexBlockMissing { logical });
        }
        Ok(Some(index))
    }

    /// Checks a node. Returns the blocks that its entries lead to, each with its range of hashes
    /// and with the levels of nodes below it. The levels are `None` for a leaf.
    fn check_index_node(
        &mut self,
        structure: Structure,
        bytes: &[u8],
        is_root: bool,
        range: HashRange,
        levels: u8,
        has_checksums: bool,
    ) -> Vec<(u32, HashRange, Option<u8>)> {
        let Some(start) = index_entries(bytes, is_root) else {
            self.report(structure, Problem::IndexNodeWrong);
            return Vec::new();
        };
        let (counts, _) = IndexCountLimit::ref_from_prefix(&bytes[start..]).expect("a block has room for it");
        let (limit, count) = (usize::from(counts.limit.get()), usize::from(counts.count.get()));
        if limit != index_limit(start, bytes.len(), has_checksums) || count > limit || count == 0 {
            self.report(
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
        let mut below: Vec<(u32, HashRange, Option<u8>)> = Vec::with_capacity(count);
        for (position, entry) in entries.iter().enumerate() {
            // The first entry has no hash. Its range begins where the range of the node begins.
            let first = if position == 0 { range.first } else { entry.hash.get() };
            let is_right = below.last().is_none_or(|(_, last, _)| last.first <= first)
                && range.next.is_none_or(|next| first & !1 <= next & !1);
            self.require(is_right, structure, Problem::IndexOutOfOrder { hash: first });
            let next = entries.get(position + 1).map(|next| next.hash.get()).or(range.next);
            below.push((entry.child(), HashRange { first, next }, levels.checked_sub(1)));
        }
        below
    }
}

/// Returns the block of the image that holds a block of a file.
pub(super) fn image_block(extents: &[Extent], logical: u32) -> Option<BlockNr> {
    let after = extents.partition_point(|extent| extent.logical <= logical);
    let extent = extents.get(after.checked_sub(1)?)?;
    let offset = logical - extent.logical;
    (offset < extent.count).then(|| extent.start + u64::from(offset))
}
