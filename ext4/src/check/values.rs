//! Inodes that hold values of extended attributes (`ea_inode`), each of which many attributes may
//! have.

use super::{Check, Problem, found};
use crate::checksum;
use crate::disk::inode::InodeFlags;
use crate::disk::xattr::MAX_VALUE_LEN;
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::units::Ino;

/// An inode that holds a value.
#[derive(Clone, Copy)]
pub(super) struct Holder {
    /// Its size in bytes.
    pub(super) size: u64,
    /// The hash of the value, if it can be one.
    pub(super) hash: Option<u32>,
    /// The inode has that hash.
    is_right: bool,
    /// Inode whose value it is, and its generation, if it was made before holders had hashes and
    /// counts (`EXT4_XATTR_INODE_GET_PARENT`).
    parent: (u32, u32),
}

impl Holder {
    /// Returns whether it was made for an inode before holders had hashes and counts.
    fn is_old_of(self, owner: Owner) -> bool {
        self.parent == (owner.ino, owner.generation)
    }
}

/// An inode with an attribute.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    pub(super) ino: u32,
    pub(super) generation: u32,
}

/// The use of an inode as the holder of a value.
#[derive(Default)]
pub(super) struct Holding {
    /// Attributes that have it.
    found: u32,
    /// It was made before holders had hashes and counts.
    is_old: bool,
    /// None if it cannot be read.
    holder: Option<Holder>,
}

impl<R: ReadAt> Check<R> {
    /// The inode that holds the value of one more attribute, and whether it is an old one of that
    /// attribute's inode. However many attributes have it, it is read once.
    pub(super) fn holder(&mut self, ino: u32, owner: Owner) -> Result<Option<(Holder, bool)>, ReadError> {
        if !self.value_inodes.contains_key(&ino) {
            let holder = self.read_holder(ino)?;
            let holding = Holding {
                holder,
                ..Holding::default()
            };
            self.value_inodes.insert(ino, holding);
        }
        let holding = self.value_inodes.entry(ino).or_default();
        holding.found += 1;
        let Some(holder) = holding.holder else {
            return Ok(None);
        };
        let is_old = !holder.is_right && holder.is_old_of(owner);
        holding.is_old |= is_old;
        Ok(Some((holder, is_old)))
    }

    fn read_holder(&mut self, ino: u32) -> Result<Option<Holder>, ReadError> {
        let structure = Structure::XattrValue { ino };
        let inode = self.reader.read_inode(Ino(ino));
        let Some(inode) = found(inode, structure, &mut self.findings)? else {
            return Ok(None);
        };
        let Some(checked) = self.reread_inode(Ino(ino))? else {
            return Ok(None);
        };
        let mut holder = Holder {
            size: inode.size,
            hash: None,
            is_right: true,
            parent: checked.inode.value_parent(),
        };
        let len = usize::try_from(inode.size)
            .ok()
            .filter(|len| (1..=MAX_VALUE_LEN).contains(len));
        // One that holds no value is found with those that have it.
        let Some(len) = len.filter(|_| inode.holds_value()) else {
            return Ok(Some(holder));
        };
        let value = self.reader.read_whole(&inode, len);
        let Some(value) = found(value, structure, &mut self.findings)? else {
            return Ok(None);
        };
        let hash = checksum::value_hash(&value, self.reader.value_seed());
        holder.hash = Some(hash);
        holder.is_right = checked.inode.value_hash() == hash;
        Ok(Some(holder))
    }

    /// Checks that the holders are in use, and compares their counts with the attributes.
    pub(super) fn holders_in_use(&mut self) -> Result<(), ReadError> {
        let holders = std::mem::take(&mut self.value_inodes);
        for (&ino, holding) in &holders {
            let structure = Structure::XattrValue { ino };
            if self.is_unknown(ino) {
                continue;
            }
            let fact = self.inodes.get(ino).copied();
            let Some(checked) = self.reread_inode(Ino(ino))?.filter(|_| fact.is_some()) else {
                self.find(structure, Problem::XattrValueMissing);
                continue;
            };
            let has_flag = checked.flags.contains(InodeFlags::EA_INODE);
            if holding.is_old && has_flag {
                continue;
            }
            let is_right = holding.holder.is_none_or(|holder| holder.is_right);
            self.expect(is_right, structure, Problem::XattrValueHashWrong);
            let (found, expected) = (checked.inode.value_references(), holding.found);
            let is_right = has_flag && found == expected.into();
            self.expect(
                is_right,
                structure,
                Problem::XattrValueReferencesWrong { found, expected },
            );
        }
        self.value_inodes = holders;
        Ok(())
    }
}
