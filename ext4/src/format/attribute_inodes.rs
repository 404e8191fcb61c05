//! [`AttributeInodes`]: values of extended attributes that are stored in inodes of their own. Each
//! distinct value has one inode, which all attributes with this value share.

use std::collections::BTreeMap;

use crate::checksum::{Seed, value_hash};
use crate::data::FileData;
use crate::encode::xattrs::AttributeInode;
use crate::units::Ino;

/// Values with their attribute inodes, whose numbers follow those of the tree's inodes.
pub(super) struct AttributeInodes {
    seed: Seed,
    first: Ino,
    by_value: BTreeMap<Box<[u8]>, AttributeInode>,
}

impl AttributeInodes {
    /// Creates an empty map. The first value will get the inode `first`.
    pub(super) fn new(seed: Seed, first: Ino) -> Self {
        Self {
            seed,
            first,
            by_value: BTreeMap::new(),
        }
    }

    /// Number of values.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.by_value.len()).expect("each is in memory")
    }

    /// Returns the inode of a value. A new value gets the next number.
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

    /// Returns the values in the order of their inode numbers.
    pub(super) fn by_number(&self) -> Vec<(AttributeInode, &[u8])> {
        let mut values: Vec<_> = self.by_value.iter().map(|(value, &inode)| (inode, &**value)).collect();
        values.sort_unstable();
        values
    }
}

/// A value that has been written to the image as content of its inode.
pub(super) struct WrittenValue {
    pub(super) inode: AttributeInode,
    pub(super) data: FileData,
    /// Number of attribute entries that refer to the inode.
    pub(super) references: u32,
}
