//! Inodes that hold values of extended attributes (`ea_inode`), each of which many attributes may have.

use std::io::{Read, Seek};

use super::{Check, found};
use crate::checksum;
use crate::disk::inode::InodeFlags;
use crate::encode::xattrs::MAX_VALUE_LEN;
use crate::read::{ReadError, Structure};
use crate::units::Ino;

/// An inode that holds a value.
#[derive(Clone, Copy)]
pub(super) struct Holder {
    /// Its size in bytes.
    pub(super) size: u64,
    /// The hash of the value, if it can be one.
    pub(super) hash: Option<u32>,
}

/// How an inode is used as the holder of a value.
#[derive(Default)]
pub(super) struct Holding {
    /// Attributes that have it.
    found: u32,
    /// None if it cannot be read.
    holder: Option<Holder>,
}

impl<R: Read + Seek> Check<R> {
    /// The inode that holds the value of one more attribute. However many they are, it is read once.
    pub(super) fn holder(&mut self, ino: u32) -> Result<Option<Holder>, ReadError> {
        if !self.value_inodes.contains_key(&ino) {
            let holder = self.read_holder(ino)?;
            self.value_inodes.insert(ino, Holding { found: 0, holder });
        }
        let holding = self.value_inodes.entry(ino).or_default();
        holding.found += 1;
        Ok(holding.holder)
    }

    fn read_holder(&mut self, ino: u32) -> Result<Option<Holder>, ReadError> {
        let structure = Structure::XattrValue { ino };
        let inode = self.reader.read_inode(Ino(ino));
        let Some(inode) = found(inode, structure, &mut self.findings)? else {
            return Ok(None);
        };
        let size = inode.size;
        if !inode.holds_value() {
            // It is found with those that have it.
            return Ok(Some(Holder { size, hash: None }));
        }
        let len = usize::try_from(size)
            .ok()
            .filter(|len| (1..=MAX_VALUE_LEN).contains(len));
        let Some(len) = len else {
            return Ok(Some(Holder { size, hash: None }));
        };
        let value = self.reader.read_whole(&inode, len);
        let Some(value) = found(value, structure, &mut self.findings)? else {
            return Ok(None);
        };
        let hash = checksum::value_hash(&value, self.reader.value_seed());
        let is_right = inode.accessed.seconds() & 0xFFFF_FFFF == i64::from(hash);
        self.findings
            .expect(is_right, structure, || "it has another hash".to_owned());
        let hash = Some(hash);
        Ok(Some(Holder { size, hash }))
    }

    /// Whether the holders are there, and have as many attributes as they say.
    pub(super) fn holders_in_use(&mut self) -> Result<(), ReadError> {
        let holders = std::mem::take(&mut self.value_inodes);
        for (&ino, &Holding { found, .. }) in &holders {
            let structure = Structure::XattrValue { ino };
            if self.is_unknown(ino) {
                continue;
            }
            let fact = self.inodes.get(ino).copied();
            let Some(checked) = self.again(Ino(ino))?.filter(|_| fact.is_some()) else {
                self.find(structure, "there is no such inode");
                continue;
            };
            // `ext4_xattr_inode_get_ref`
            let said = u64::from(checked.inode.ctime.get()) << 32 | u64::from(checked.inode.version.get());
            let is_right = checked.flags.contains(InodeFlags::EA_INODE) && said == u64::from(found);
            self.findings.expect(is_right, structure, || {
                format!("{found} attributes have it, and it says {said}")
            });
        }
        self.value_inodes = holders;
        Ok(())
    }
}
