//! Checks inodes that hold values of extended attributes (`ea_inode`). Many attributes may share
//! one of them.

use super::{Checker, Problem, report_unreadable};
use crate::checksum;
use crate::disk::inode::InodeFlags;
use crate::disk::xattr::MAX_VALUE_LEN;
use crate::read::{ReadError, Structure};
use crate::read_at::ReadAt;
use crate::units::Ino;

/// Inode that holds the value of an attribute.
#[derive(Clone, Copy)]
pub(super) struct ValueInode {
    /// Size in bytes.
    pub(super) size: u64,
    /// Computed hash of the value, or `None` if the inode cannot hold a value.
    pub(super) hash: Option<u32>,
    /// The hash in the inode is right, or was not compared.
    hash_ok: bool,
    /// Number and generation of the inode with the attribute, if this value inode is from before
    /// value inodes had hashes and counts (`EXT4_XATTR_INODE_GET_PARENT`).
    parent: (u32, u32),
}

impl ValueInode {
    /// Returns whether the value inode names `owner` as its parent, as value inodes did before
    /// they had hashes and counts.
    fn was_made_for(self, owner: XattrOwner) -> bool {
        self.parent == (owner.ino, owner.generation)
    }
}

/// Inode with an attribute.
#[derive(Clone, Copy)]
pub(super) struct XattrOwner {
    pub(super) ino: u32,
    pub(super) generation: u32,
}

/// Use of an inode as a value inode.
#[derive(Default)]
pub(super) struct ValueInodeUse {
    /// Number of attributes with the value.
    found: u32,
    /// The inode is from before value inodes had hashes and counts.
    is_legacy: bool,
    /// The inode, or `None` if it cannot be read.
    value_inode: Option<ValueInode>,
}

impl<R: ReadAt> Checker<R> {
    /// Counts one more attribute that uses a value inode. Returns the inode, and whether it is a
    /// legacy one of that attribute's inode. Reads the inode once, however many attributes use it.
    pub(super) fn use_value_inode(
        &mut self,
        ino: u32,
        owner: XattrOwner,
    ) -> Result<Option<(ValueInode, bool)>, ReadError> {
        if !self.value_inodes.contains_key(&ino) {
            let value_inode = self.read_value_inode(ino)?;
            let usage = ValueInodeUse {
                value_inode,
                ..ValueInodeUse::default()
            };
            self.value_inodes.insert(ino, usage);
        }
        let usage = self.value_inodes.entry(ino).or_default();
        usage.found += 1;
        let Some(value_inode) = usage.value_inode else {
            return Ok(None);
        };
        let is_legacy = !value_inode.hash_ok && value_inode.was_made_for(owner);
        usage.is_legacy |= is_legacy;
        Ok(Some((value_inode, is_legacy)))
    }

    fn read_value_inode(&mut self, ino: u32) -> Result<Option<ValueInode>, ReadError> {
        let structure = Structure::XattrValue { ino };
        let inode = self.reader.read_inode(Ino(ino));
        let Some(inode) = report_unreadable(inode, structure, &mut self.findings)? else {
            return Ok(None);
        };
        let Some(checked) = self.reread_inode(Ino(ino))? else {
            return Ok(None);
        };
        let mut value_inode = ValueInode {
            size: inode.size,
            hash: None,
            hash_ok: true,
            parent: checked.inode.value_parent(),
        };
        let len = usize::try_from(inode.size)
            .ok()
            .filter(|len| (1..=MAX_VALUE_LEN).contains(len));
        // An inode that cannot hold a value is reported by its attributes.
        let Some(len) = len.filter(|_| inode.holds_value()) else {
            return Ok(Some(value_inode));
        };
        let value = self.reader.read_prefix(&inode, len);
        let Some(value) = report_unreadable(value, structure, &mut self.findings)? else {
            return Ok(None);
        };
        let hash = checksum::value_hash(&value, self.reader.value_seed());
        value_inode.hash = Some(hash);
        value_inode.hash_ok = checked.inode.value_hash() == hash;
        Ok(Some(value_inode))
    }

    /// Checks that the value inodes are in use, and compares their hashes and reference counts
    /// with the attributes.
    pub(super) fn check_value_inodes(&mut self) -> Result<(), ReadError> {
        let value_inodes = std::mem::take(&mut self.value_inodes);
        for (&ino, usage) in &value_inodes {
            let structure = Structure::XattrValue { ino };
            if self.is_in_unknown_group(ino) {
                continue;
            }
            let used = self.inodes.get(ino).copied();
            let Some(checked) = self.reread_inode(Ino(ino))?.filter(|_| used.is_some()) else {
                self.report(structure, Problem::XattrValueMissing);
                continue;
            };
            let has_flag = checked.flags.contains(InodeFlags::EA_INODE);
            if usage.is_legacy && has_flag {
                continue;
            }
            let is_right = usage.value_inode.is_none_or(|value_inode| value_inode.hash_ok);
            self.require(is_right, structure, Problem::XattrValueHashWrong);
            let (found, expected) = (checked.inode.value_references(), usage.found);
            let is_right = has_flag && found == expected.into();
            self.require(
                is_right,
                structure,
                Problem::XattrValueReferencesWrong { found, expected },
            );
        }
        self.value_inodes = value_inodes;
        Ok(())
    }
}
