//! [`InodeNumbers`]: assigns inode numbers, the children of a directory side by side, directories
//! in tree order. A walk through the tree then reads the inode tables front to back.

use crate::origin::Origin;
use crate::tree::{InodeId, Tree};
use crate::units::Ino;

/// Inode numbers of a tree.
pub(crate) struct InodeNumbers {
    /// Number of each inode, by its index in creation order; 0 for a removed inode.
    by_id: Vec<u32>,
    /// Indexes of inodes in the order of their numbers, from [`Ino::FIRST`]. The root is not
    /// included.
    order: Vec<u32>,
    tree: Origin,
}

impl InodeNumbers {
    /// Numbers the inodes of a tree. `lost_found`, if any, becomes inode 11, as with mke2fs.
    pub(crate) fn assign(tree: &Tree, lost_found: Option<InodeId>) -> Self {
        let mut numbers = Self {
            by_id: vec![0; tree.slot_count()],
            order: Vec::new(),
            tree: tree.origin(),
        };
        numbers.by_id[InodeId::ROOT.index() as usize] = Ino::ROOT.0;
        if let Some(id) = lost_found {
            numbers.assign_next(id);
        }
        let mut pending = vec![InodeId::ROOT];
        while let Some(id) = pending.pop() {
            let directory = tree.inode(id).directory().expect("only directories are pending");
            let first = pending.len();
            for (_, child) in directory.entries() {
                numbers.assign_next(child);
                if tree.inode(child).directory().is_some() {
                    pending.push(child);
                }
            }
            // Reversed because the last element is popped first.
            pending[first..].reverse();
        }
        numbers
    }

    /// Assigns the next number to an inode, unless it has one from another hard link.
    fn assign_next(&mut self, id: InodeId) {
        let number = &mut self.by_id[id.index() as usize];
        if *number == 0 {
            *number = Ino::FIRST.0 + u32::try_from(self.order.len()).expect("a tree has fewer inodes than u32 counts");
            self.order.push(id.index());
        }
    }

    /// Returns the number of an inode of the tree.
    pub(crate) fn number_of(&self, id: InodeId) -> Ino {
        Ino(self.by_id[id.index() as usize])
    }

    /// Iterates over the inodes in the order of their numbers, the root first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Ino, InodeId)> {
        let id = |&index| InodeId::new(index, self.tree);
        let rest = (Ino::FIRST.0..)
            .zip(&self.order)
            .map(move |(number, index)| (Ino(number), id(index)));
        std::iter::once((Ino::ROOT, InodeId::ROOT)).chain(rest)
    }

    /// Number of inodes in use or reserved, which is also the highest number.
    pub(crate) fn count(&self) -> u32 {
        Ino::FIRST.0 - 1 + u32::try_from(self.order.len()).expect("a tree has fewer inodes than u32 counts")
    }
}
