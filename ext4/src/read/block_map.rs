//! Block maps, which ext2 and ext3 have instead of extent trees: the kernel still writes them where there is no `extent`.

use super::{FoundInode, ReadError, Reader};
use crate::read_at::ReadAt;
use crate::units::{BlockNr, Extent};
use std::collections::BTreeSet;

/// Numbers in `i_block` that name blocks of content (`EXT4_NDIR_BLOCKS`).
const DIRECT: usize = 12;

impl<R: ReadAt> Reader<R> {
    /// The blocks of an inode without extents, up to a block of the file, put together into extents; what is not mapped
    /// is a hole.
    pub(super) fn mapped(&self, inode: &FoundInode, end: u64) -> Result<Vec<Extent>, ReadError> {
        let (words, _) = inode.block.as_chunks::<4>();
        let words: [u32; DIRECT + 3] = std::array::from_fn(|index| u32::from_le_bytes(words[index]));
        let per_block = self.block_size as u64 / 4;
        let mut extents = Extents::default();
        for (logical, &block) in (0..end).zip(&words[..DIRECT]) {
            self.map(inode, logical, block, &mut extents)?;
        }
        // Blocks of numbers that are still to be read, the last first: with the first block of the file below each, and the
        // levels below each.
        let mut pending = Vec::new();
        let mut first = DIRECT as u64;
        for (levels, &block) in (0..3u32).zip(&words[DIRECT..]) {
            pending.push((block, first, levels));
            first += per_block.pow(levels + 1);
        }
        pending.reverse();
        let mut seen = BTreeSet::new();
        while let Some((block, first, levels)) = pending.pop() {
            if block == 0 || first >= end {
                continue;
            }
            if !seen.insert(block) {
                return Err(inode.damaged("one block is in its block map twice"));
            }
            let bytes = self.read_block(inode.ino, BlockNr(block.into()))?;
            let (numbers, _) = bytes.as_chunks::<4>();
            let span = per_block.pow(levels);
            let children = (0..).zip(numbers).map(|(index, bytes): (u64, _)| {
                let first = first + index * span;
                (u32::from_le_bytes(*bytes), first)
            });
            if levels == 0 {
                for (block, logical) in children.take_while(|(_, logical)| *logical < end) {
                    self.map(inode, logical, block, &mut extents)?;
                }
            } else {
                let used = children.filter(|(block, _)| *block != 0);
                let below: Vec<_> = used.map(|(block, first)| (block, first, levels - 1)).collect();
                pending.extend(below.into_iter().rev());
            }
        }
        Ok(extents.0)
    }

    fn map(&self, inode: &FoundInode, logical: u64, block: u32, extents: &mut Extents) -> Result<(), ReadError> {
        if block == 0 {
            return Ok(());
        }
        if u64::from(block) >= self.block_count {
            return Err(inode.damaged("a block lies outside of the file system"));
        }
        let logical = u32::try_from(logical).map_err(|_| inode.damaged("its block map reaches too far"))?;
        extents.add(logical, BlockNr(block.into()));
        Ok(())
    }
}

/// Extents, ascending.
#[derive(Default)]
struct Extents(Vec<Extent>);

impl Extents {
    fn add(&mut self, logical: u32, block: BlockNr) {
        if let Some(last) = self.0.last_mut() {
            let continues = last.logical.checked_add(last.count) == Some(logical) && last.run().end() == block;
            if continues && last.count < Extent::MAX_BLOCKS {
                last.count += 1;
                return;
            }
        }
        self.0.push(Extent {
            start: block,
            logical,
            count: 1,
        });
    }
}
