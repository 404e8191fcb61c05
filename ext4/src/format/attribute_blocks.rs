//! Blocks of extended attributes, each shared by the inodes that have the same ones.

use std::collections::BTreeMap;

use crate::checksum::Seed;
use crate::disk::xattr::MAX_REFCOUNT;
use crate::encode::xattrs::{self, Attribute};
use crate::seal::{self, Sealed};
use crate::units::{BlockNr, BlockSize, Ino};

/// The attributes that need a block, and how many inodes have them.
#[derive(Default)]
pub(super) struct AttributeBlocks(BTreeMap<Vec<Attribute>, AttributeSet>);

#[derive(Default)]
struct AttributeSet {
    inode_count: u32,
    blocks: Vec<BlockNr>,
    /// Inodes that know their block already.
    assigned: u32,
}

impl AttributeBlocks {
    /// Counts one more inode with these attributes.
    pub(super) fn count_inode(&mut self, attributes: Vec<Attribute>) {
        if !attributes.is_empty() {
            self.0.entry(attributes).or_default().inode_count += 1;
        }
    }

    /// Blocks that all of them need.
    pub(super) fn block_count(&self) -> u64 {
        self.0
            .values()
            .map(|set| u64::from(set.inode_count.div_ceil(MAX_REFCOUNT)))
            .sum()
    }

    /// Attributes in blocks whose values have inodes of their own, once for each block.
    pub(super) fn attribute_inodes(&self) -> impl Iterator<Item = (Ino, u32)> {
        self.0.iter().flat_map(|(attributes, set)| {
            let block_count = set.inode_count.div_ceil(MAX_REFCOUNT);
            attributes
                .iter()
                .filter_map(Attribute::attribute_inode)
                .map(move |ino| (ino, block_count))
        })
    }

    /// Gives the blocks their places, and makes them.
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

    /// The block for the next inode with these attributes, if they need one.
    pub(super) fn assign_block(&mut self, attributes: &[Attribute]) -> Option<BlockNr> {
        let set = self.0.get_mut(attributes)?;
        let block = set.blocks[(set.assigned / MAX_REFCOUNT) as usize];
        set.assigned += 1;
        Some(block)
    }
}
