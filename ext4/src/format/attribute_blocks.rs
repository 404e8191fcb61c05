//! [`AttributeBlocks`]: external attribute blocks, which inodes with the same attributes share.

use std::collections::BTreeMap;

use crate::checksum::Seed;
use crate::disk::xattr::MAX_REFCOUNT;
use crate::encode::xattrs::{self, Attribute};
use crate::seal::{self, Sealed};
use crate::units::{BlockNr, BlockSize, Ino};

/// Sets of attributes that need a block. A block is shared by up to [`MAX_REFCOUNT`] inodes.
#[derive(Default)]
pub(super) struct AttributeBlocks(BTreeMap<Vec<Attribute>, AttributeSet>);

/// Use of one set of attributes.
#[derive(Default)]
struct AttributeSet {
    inode_count: u32,
    blocks: Vec<BlockNr>,
    /// Number of inodes that have been assigned a block.
    assigned: u32,
}

impl AttributeBlocks {
    /// Counts an inode with these attributes. An empty set needs no block.
    pub(super) fn count_inode(&mut self, attributes: Vec<Attribute>) {
        if !attributes.is_empty() {
            self.0.entry(attributes).or_default().inode_count += 1;
        }
    }

    /// Returns the total number of blocks.
    pub(super) fn block_count(&self) -> u64 {
        self.0
            .values()
            .map(|set| u64::from(set.inode_count.div_ceil(MAX_REFCOUNT)))
            .sum()
    }

    /// Returns the attribute inodes that attributes refer to, each with the number of blocks that
    /// contain the attribute.
    pub(super) fn attribute_inodes(&self) -> impl Iterator<Item = (Ino, u32)> {
        self.0.iter().flat_map(|(attributes, set)| {
            let block_count = set.inode_count.div_ceil(MAX_REFCOUNT);
            attributes
                .iter()
                .filter_map(Attribute::attribute_inode)
                .map(move |ino| (ino, block_count))
        })
    }

    /// Writes all blocks, to the block numbers that `next_block` returns.
    pub(super) fn write_blocks<E>(
        &mut self,
        block_size: BlockSize,
        seed: Seed,
        mut next_block: impl FnMut() -> BlockNr,
        mut write: impl FnMut(BlockNr, Sealed<Vec<u8>>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (attributes, set) in &mut self.0 {
            let mut left = set.inode_count;
            while left > 0 {
                let refcount = left.min(MAX_REFCOUNT);
                let nr = next_block();
                write(
                    nr,
                    seal::xattr_block(xattrs::encode_block(attributes, refcount, block_size), seed, nr),
                )?;
                set.blocks.push(nr);
                left -= refcount;
            }
        }
        Ok(())
    }

    /// Returns the block for the next inode with these attributes, or `None` if the set needs no
    /// block.
    pub(super) fn assign_block(&mut self, attributes: &[Attribute]) -> Option<BlockNr> {
        let set = self.0.get_mut(attributes)?;
        let block = set.blocks[(set.assigned / MAX_REFCOUNT) as usize];
        set.assigned += 1;
        Some(block)
    }
}
