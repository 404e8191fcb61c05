//! Values of extended attributes that have inodes of their own, one for each value, however many attributes have it.

use std::collections::BTreeMap;

use crate::checksum::{Seed, value_hash};
use crate::data::FileData;
use crate::encode::xattrs::AttributeInode;
use crate::units::Ino;

/// The values, numbered behind the inodes of the tree.
pub(super) struct AttributeInodes {
    seed: Seed,
    first: Ino,
    by_value: BTreeMap<Box<[u8]>, AttributeInode>,
}

impl AttributeInodes {
    /// No values yet; the first will be inode `first`.
    pub(super) fn new(seed: Seed, first: Ino) -> Self {
        Self {
            seed,
            first,
            by_value: BTreeMap::new(),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.by_value.len()).expect("each is in memory")
    }

    /// The inode of a value, a new one if it has not been seen.
    pub(super) fn get_or_insert(&mut self, value: &[u8]) -> AttributeInode {
        if let Some(inode) = self.by_value.get(value) {
            return *inode;
        }
        let inode = AttributeInode {
            ino: Ino(self.first.get() + self.count()),
            hash: value_hash(value, self.seed),
        };
        self.by_value.insert(value.into(), inode);
        inode
    }

    /// The values in the order of their inodes.
    pub(super) fn by_number(&self) -> Vec<(AttributeInode, &[u8])> {
        let mut values: Vec<_> = self.by_value.iter().map(|(value, &inode)| (inode, &**value)).collect();
        values.sort_unstable();
        values
    }
}

/// A value whose content is in the image.
pub(super) struct WrittenValue {
    pub(super) inode: AttributeInode,
    pub(super) data: FileData,
    /// How many entries refer to it.
    pub(super) references: u32,
}
