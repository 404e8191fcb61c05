//! Blocks of extended attributes, each shared by the inodes that have the same ones.

use std::collections::BTreeMap;

use crate::checksum::Seed;
use crate::disk::xattr::MAX_REFCOUNT;
use crate::encode::xattrs::{self, Attribute};
use crate::seal::{self, Sealed};
use crate::units::{BlockNr, BlockSize, Ino};

/// The attributes that need a block, and how many inodes have them.
#[derive(Default)]
pub(super) struct SharedXattrs(BTreeMap<Vec<Attribute>, Users>);

#[derive(Default)]
struct Users {
    count: u32,
    blocks: Vec<BlockNr>,
    /// Inodes that know their block already.
    served: u32,
}

impl SharedXattrs {
    /// Counts one more inode with these attributes.
    pub(super) fn add(&mut self, attributes: Vec<Attribute>) {
        if !attributes.is_empty() {
            self.0.entry(attributes).or_default().count += 1;
        }
    }

    /// Blocks that all of them need.
    pub(super) fn block_count(&self) -> u64 {
        self.0
            .values()
            .map(|users| u64::from(users.count.div_ceil(MAX_REFCOUNT)))
            .sum()
    }

    /// Attributes in blocks whose values have inodes of their own, once for each block.
    pub(super) fn value_inodes(&self) -> impl Iterator<Item = (Ino, u32)> {
        self.0.iter().flat_map(|(attributes, users)| {
            let block_count = users.count.div_ceil(MAX_REFCOUNT);
            attributes
                .iter()
                .filter_map(Attribute::value_inode)
                .map(move |ino| (ino, block_count))
        })
    }

    /// Gives the blocks their places, and makes them.
    pub(super) fn encode<E>(
        &mut self,
        block_size: BlockSize,
        seed: Seed,
        mut next_block: impl FnMut() -> BlockNr,
        mut write: impl FnMut(BlockNr, Sealed<Vec<u8>>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (attributes, users) in &mut self.0 {
            let mut left = users.count;
            while left > 0 {
                let refcount = left.min(MAX_REFCOUNT);
                let nr = next_block();
                write(
                    nr,
                    seal::xattr_block(xattrs::block(attributes, refcount, block_size), seed, nr),
                )?;
                users.blocks.push(nr);
                left -= refcount;
            }
        }
        Ok(())
    }

    /// The block for the next inode with these attributes, if they need one.
    pub(super) fn take(&mut self, attributes: &[Attribute]) -> Option<BlockNr> {
        let users = self.0.get_mut(attributes)?;
        let block = users.blocks[(users.served / MAX_REFCOUNT) as usize];
        users.served += 1;
        Some(block)
    }
}
