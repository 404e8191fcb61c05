//! The index of a directory: a tree of hashes over blocks of entries (`parse_int_node` of e2fsck).

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use zerocopy::FromBytes;

use super::directories::Directory;
use super::extents::Blocks;
use super::{Check, Problem};
use crate::disk::dir_entry::{IndexCountLimit, IndexEntry, IndexRootInfo, IndexTail};
use crate::encode::hash::{HashVersion, NameHasher};
use crate::read::facts::incompat;
use crate::read::sums::index_entries;
use crate::read::{ReadError, Structure};
use crate::units::{BlockNr, Extent};

/// `s_flags`: bytes of names are taken as unsigned (`EXT2_FLAGS_UNSIGNED_HASH`).
const FLAG_UNSIGNED_HASH: u32 = 2;

/// Hashes of the names below a node.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) first: u32,
    /// Where the next node begins; none for the last.
    pub(super) next: Option<u32>,
}

/// What an index says of the blocks of a directory.
pub(super) struct Index {
    /// By block of the directory; none for one that is part of the index.
    blocks: BTreeMap<u32, Option<Range>>,
}

impl Index {
    /// Whether a block of the directory is part of the index.
    pub(super) fn is_node(&self, logical: u32) -> bool {
        matches!(self.blocks.get(&logical), Some(None))
    }

    pub(super) fn leaf(&self, logical: u32) -> Option<Range> {
        self.blocks.get(&logical).copied().flatten()
    }
}

impl<R: Read + Seek> Check<R> {
    /// Goes through the nodes of an index, from its root, which is the directory's first block.
    pub(super) fn index(
        &mut self,
        structure: Structure,
        directory: &mut Directory,
        blocks: &Blocks,
        root: &[u8],
    ) -> Result<Option<Index>, ReadError> {
        let (info, _) = IndexRootInfo::ref_from_prefix(&root[24..]).expect("a block has room for it");
        let levels = info.indirect_levels;
        let most = if self.reader.has_incompat(incompat::LARGE_DIR) {
            2
        } else {
            1
        };
        let is_right =
            info.reserved_zero.get() == 0 && info.info_length == 8 && info.unused_flags & 1 == 0 && levels <= most;
        let Some(version) = HashVersion::from_disk(info.hash_version).filter(|_| is_right) else {
            self.find(structure, Problem::IndexHeaderWrong);
            return Ok(None);
        };
        let superblock = self.reader.superblock();
        let hasher = NameHasher::new(&superblock.hash_seed).of_version(version);
        let is_unsigned = superblock.flags.get() & FLAG_UNSIGNED_HASH != 0;
        directory.hasher = Some(if is_unsigned { hasher.unsigned() } else { hasher });
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
            let Some(block) = place(&blocks.extents, logical) else {
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

    /// The blocks below a node: each with the hashes below it, and the levels of nodes below that, or none if it is a leaf.
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
        let tail = if has_sums { size_of::<IndexTail>() } else { 0 };
        let expected = (bytes.len() - start - tail) / size_of::<IndexEntry>();
        if limit != expected || count > limit || count == 0 {
            self.find(
                structure,
                Problem::IndexCountsWrong {
                    entries: counts.count.get(),
                    room: counts.limit.get(),
                },
            );
            return Vec::new();
        }
        let (entries, _) = bytes[start..start + count * 8].as_chunks::<8>();
        let entries: Vec<(u32, u32)> = entries
            .iter()
            .map(|entry| {
                let entry = IndexEntry::ref_from_bytes(entry).expect("an entry has its length");
                // The highest bits of a block are for other uses (`dx_get_block`).
                (entry.hash.get(), entry.block.get() & 0x0FFF_FFFF)
            })
            .collect();
        let mut below: Vec<(u32, Range, Option<u8>)> = Vec::with_capacity(count);
        for (position, &(hash, block)) in entries.iter().enumerate() {
            // The first has no hash: it has all from where the node begins.
            let first = if position == 0 { range.first } else { hash };
            let is_right = below.last().is_none_or(|(_, last, _)| last.first <= first)
                && range.next.is_none_or(|next| first & !1 <= next & !1);
            self.expect(is_right, structure, Problem::IndexOutOfOrder { hash: first });
            let next = entries.get(position + 1).map(|&(hash, _)| hash).or(range.next);
            below.push((block, Range { first, next }, levels.checked_sub(1)));
        }
        below
    }
}

/// Where a block of a file is.
pub(super) fn place(extents: &[Extent], logical: u32) -> Option<BlockNr> {
    let after = extents.partition_point(|extent| extent.logical <= logical);
    let extent = extents.get(after.checked_sub(1)?)?;
    let offset = logical - extent.logical;
    (offset < extent.count).then(|| extent.start + u64::from(offset))
}
