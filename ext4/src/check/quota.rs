//! Checks quota files: a header, and a tree that leads from each user, group or project to its
//! usage and limits (`fs/quota/quota_v2.c`, `fs/quota/quota_tree.c`). Does not compare the usage
//! with the files.

use std::collections::BTreeMap;
use std::io;

use zerocopy::FromBytes;

use super::index::image_block;
use super::{Checker, Problem, QuotaProblem, is_zeros};
use crate::disk::block_map::numbers;
use crate::disk::features::Features;
use crate::disk::quota::{BLOCK_LEN, Entry, Header, LEAF_ENTRIES, LeafHeader, TREE_DEPTH, TREE_ROOT, VERSION, magic};
use crate::file_type::FileType;
use crate::read::{Inode, ReadError, Structure};
use crate::read_at::ReadAt;
use crate::units::{Extent, Ino, as_chunks};

/// Quota file under check.
struct QuotaFile {
    extents: Vec<Extent>,
    /// Number of blocks of 1 KiB, according to the header.
    block_count: u32,
    /// Blocks that the tree leads to: `None` for a node, or for a leaf the number of its entries
    /// that the tree has not led to yet.
    seen: BTreeMap<u32, Option<u16>>,
}

/// Node of the tree, to be checked.
struct QuotaNode {
    block: u32,
    /// Number of levels above it.
    depth: u8,
    /// First bytes of the identifiers below it, one for each level above.
    prefix: u32,
}

impl<R: ReadAt> Checker<R> {
    /// Checks the quota files that the superblock names.
    pub(super) fn check_quotas(&mut self) -> Result<(), ReadError> {
        let superblock = self.reader.superblock();
        if !superblock.has(Features::QUOTA) {
            return Ok(());
        }
        let files = [
            (superblock.usr_quota_inum.get(), magic::USER),
            (superblock.grp_quota_inum.get(), magic::GROUP),
            (superblock.prj_quota_inum.get(), magic::PROJECT),
        ];
        for (ino, magic) in files {
            if self.inodes.get(ino).is_none() || self.findings.is_stopped() {
                continue;
            }
            let structure = Structure::Inode { ino };
            let Some(inode) = if_readable(self.reader.read_inode(Ino(ino)))? else {
                continue;
            };
            if let Some(problem) = self.check_quota_file(&inode, magic)? {
                self.report(structure, Problem::QuotaFileDamaged { problem });
            }
        }
        Ok(())
    }

    /// Returns the first problem of a quota file. The rest of a damaged file has little meaning.
    fn check_quota_file(&mut self, inode: &Inode, magic: u32) -> Result<Option<QuotaProblem>, ReadError> {
        if inode.file_type != FileType::RegularFile {
            return Ok(Some(QuotaProblem::NotFile));
        }
        let Some(extents) = if_readable(self.reader.extents(inode))? else {
            return Ok(None);
        };
        let mut file = QuotaFile {
            extents,
            block_count: u32::MAX,
            seen: BTreeMap::new(),
        };
        let bytes = self.read_quota_block(&file, 0)?;
        let (header, _) = Header::ref_from_prefix(&bytes).expect("a block has room for its header");
        if header.magic.get() != magic || header.version.get() != VERSION {
            return Ok(Some(QuotaProblem::HeaderWrong));
        }
        let (found, available) = (header.blocks.get(), inode.size.div_ceil(BLOCK_LEN as u64));
        if u64::from(found) > available || found <= TREE_ROOT {
            return Ok(Some(QuotaProblem::BlockCountWrong { found, available }));
        }
        if header.free_block.get().max(header.free_entry.get()) >= found {
            return Ok(Some(QuotaProblem::FreeBlockOutside));
        }
        file.block_count = found;
        self.check_quota_tree(&mut file)
    }

    /// Checks the tree of a quota file.
    fn check_quota_tree(&mut self, file: &mut QuotaFile) -> Result<Option<QuotaProblem>, ReadError> {
        let mut pending = vec![QuotaNode {
            block: TREE_ROOT,
            depth: 0,
            prefix: 0,
        }];
        file.seen.insert(TREE_ROOT, None);
        while let Some(node) = pending.pop() {
            let bytes = self.read_quota_block(file, node.block)?;
            if node.block != TREE_ROOT && is_zeros(&bytes) {
                return Ok(Some(QuotaProblem::NodeEmpty { block: node.block }));
            }
            for (block, index) in numbers(&bytes).zip(0_u32..) {
                let prefix = node.prefix << 8 | index;
                if block == 0 {
                    continue;
                }
                if block >= file.block_count {
                    let node = node.block;
                    return Ok(Some(QuotaProblem::BlockOutside { node, block }));
                }
                let depth = node.depth + 1;
                let problem = if depth == TREE_DEPTH {
                    self.check_quota_leaf(file, block, prefix)?
                } else {
                    let is_new = file.seen.insert(block, None).is_none();
                    pending.push(QuotaNode { block, depth, prefix });
                    (!is_new).then_some(QuotaProblem::NodeTwice { block })
                };
                if problem.is_some() {
                    return Ok(problem);
                }
            }
        }
        let unreached = file.seen.iter().find(|(_, left)| left.is_some_and(|left| left > 0));
        Ok(unreached.map(|(&block, _)| QuotaProblem::EntriesUnreached { block }))
    }

    /// Checks a block of entries, which must have an entry for `id`.
    fn check_quota_leaf(
        &mut self,
        file: &mut QuotaFile,
        block: u32,
        id: u32,
    ) -> Result<Option<QuotaProblem>, ReadError> {
        let bytes = self.read_quota_block(file, block)?;
        let (header, rest) = LeafHeader::ref_from_prefix(&bytes).expect("a block has room for its header");
        let (entries, _) = as_chunks::<{ size_of::<Entry>() }>(rest);
        let mut used = entries[..LEAF_ENTRIES].iter().filter(|entry| !is_zeros(&entry[..]));
        let count = u16::try_from(used.clone().count()).expect("a block has few");
        if header.entries.get() != count || header.next_free.get().max(header.previous_free.get()) >= file.block_count {
            let entries = count;
            return Ok(Some(QuotaProblem::LeafHeaderWrong { block, entries }));
        }
        let has_entry = used.any(|bytes| {
            let entry = Entry::ref_from_bytes(bytes).expect("an entry has its length");
            entry.id.get() == id
        });
        if !has_entry {
            return Ok(Some(QuotaProblem::EntryMissing { block, id }));
        }
        match file.seen.entry(block).or_insert(Some(count)) {
            Some(left @ 1..) => {
                *left -= 1;
                Ok(None)
            }
            _ => Ok(Some(QuotaProblem::LeafTooOften { block })),
        }
    }

    /// Reads a block of a quota file. A hole reads as zeros.
    fn read_quota_block(&mut self, file: &QuotaFile, block: u32) -> Result<[u8; BLOCK_LEN], ReadError> {
        let mut bytes = [0; BLOCK_LEN];
        let (at, block_size) = (u64::from(block) * BLOCK_LEN as u64, self.reader.block_size() as u64);
        let logical = u32::try_from(at / block_size).expect("blocks are no smaller than 1 KiB");
        if let Some(found) = image_block(&file.extents, logical).filter(|found| found.get() < self.block_count) {
            let at = self.reader.offset_of_block(found.get()) + at % block_size;
            self.reader.read_at(at, &mut bytes)?;
        }
        Ok(bytes)
    }
}

/// Returns the value, or `None` if it is damaged. The damage was reported with the inodes.
fn if_readable<T>(result: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ReadError::Input { offset, source }) if source.kind() != io::ErrorKind::UnexpectedEof => {
            Err(ReadError::Input { offset, source })
        }
        Err(_) => Ok(None),
    }
}
