//! Reads extended attributes: in the inode, in its block of attributes, and in inodes of their
//! own.

use zerocopy::FromBytes;

use super::checksums::{verify_checksum, xattr_block_checksum_ok};
use super::{Inode, ReadError, Reader, Structure};
use crate::checksum::{self, Seed};
use crate::disk::acl;
use crate::disk::inode::InodeFlags;
use crate::disk::xattr::{self, HIDDEN_NAMESPACES, MAGIC, MAX_VALUE_LEN, XattrEntry, XattrHeader};
use crate::read_at::ReadAt;
use crate::tree::Xattrs;
use crate::units::Ino;

/// Attribute of an inode, before its value is read.
struct RawXattr<'a> {
    /// `None` if no system call shows the attribute.
    name: Option<Vec<u8>>,
    name_index: u8,
    value: ValueLocation<'a>,
}

/// Location of an attribute's value.
enum ValueLocation<'a> {
    /// Beside the entry: the offset from the start of the bytes that value offsets count from, and
    /// the value.
    Inline(usize, &'a [u8]),
    /// In an inode of its own.
    Inode { ino: Ino, len: usize },
}

impl<R: ReadAt> Reader<R> {
    /// Returns the extended attributes of an inode, as system calls show them.
    ///
    /// # Errors
    ///
    /// [`ReadError::Inode`] if an attribute is invalid, [`ReadError::Checksum`] and
    /// [`ReadError::Input`].
    pub fn xattrs(&self, inode: &Inode) -> Result<Xattrs, ReadError> {
        let mut xattrs = Xattrs::default();
        if inode.has_inode_xattrs() {
            let mut found = parse_inode_xattrs(inode)?;
            if inode.has(InodeFlags::INLINE_DATA) {
                found.retain(|attribute| !attribute.is_inline_data());
            }
            self.add_xattrs(inode, found, &mut xattrs)?;
        }
        if let Some(block) = inode.xattr_block {
            let nr = block;
            let block = self.read_block(inode.ino, nr)?;
            let none = || inode.damaged("its block of attributes has a wrong magic number");
            let (header, entries) = XattrHeader::read_from_prefix(&block).map_err(|_| none())?;
            if header.magic.get() != MAGIC {
                return Err(none());
            }
            let is_right = |seed| xattr_block_checksum_ok(&block, &header, nr, seed);
            let (ino, nr) = (inode.ino.get(), nr.get());
            verify_checksum(
                self.checksum_mode.seed().is_none_or(is_right),
                Structure::XattrBlock { ino, block: nr },
            )?;
            self.add_xattrs(inode, parse_entries(inode, entries, &block)?, &mut xattrs)?;
        }
        Ok(xattrs)
    }

    /// Returns the seed of the hashes of values in inodes of their own. Such hashes exist without
    /// checksums too.
    pub(crate) fn value_seed(&self) -> Seed {
        let seed = self.checksum_mode.seed();
        seed.unwrap_or_else(|| Seed::of_uuid(&self.superblock.uuid))
    }

    /// Reads the inode that holds a value of `len` bytes, and the value.
    fn read_value_inode(&self, ino: Ino, len: usize) -> Result<(Inode, Vec<u8>), ReadError> {
        let value_inode = self.read_inode(ino)?;
        let value = self.read_prefix(&value_inode, len)?;
        Ok((value_inode, value))
    }

    /// Returns the inodes that hold values of an inode's attributes, each once.
    pub(super) fn value_inodes(&self, inode: &Inode) -> Result<Vec<Ino>, ReadError> {
        let mut inos: Vec<Ino> = Vec::new();
        if inode.has_inode_xattrs() {
            inos.extend(parse_inode_xattrs(inode)?.iter().filter_map(RawXattr::value_inode));
        }
        if let Some(block) = inode.xattr_block {
            let block = self.read_block(inode.ino, block)?;
            let entries = block.get(size_of::<XattrHeader>()..).unwrap_or_default();
            inos.extend(
                parse_entries(inode, entries, &block)?
                    .iter()
                    .filter_map(RawXattr::value_inode),
            );
        }
        inos.sort_unstable();
        inos.dedup();
        Ok(inos)
    }

    /// Reads the values of attributes, and adds those that system calls show.
    fn add_xattrs(&self, inode: &Inode, found: Vec<RawXattr<'_>>, xattrs: &mut Xattrs) -> Result<(), ReadError> {
        for RawXattr {
            name,
            name_index,
            value,
        } in found
        {
            let Some(name) = name else {
                continue;
            };
            let value = match value {
                ValueLocation::Inline(_, value) => value.to_vec(),
                ValueLocation::Inode { ino, len } => {
                    let (value_inode, value) = self.read_value_inode(ino, len)?;
                    let ino = ino.get();
                    verify_checksum(
                        value_hash_ok(inode, &value_inode, &value, self.value_seed()),
                        Structure::XattrValue { ino },
                    )?;
                    value
                }
            };
            let value = if xattr::is_acl(name_index) {
                acl::from_disk(&value).ok_or_else(|| inode.damaged("an ACL is invalid"))?
            } else {
                value
            };
            let is_new = xattrs.get(&name).is_none();
            xattrs
                .set(&name, &value)
                .ok()
                .filter(|()| is_new)
                .ok_or_else(|| inode.damaged("the name of an attribute is invalid or occurs twice"))?;
        }
        Ok(())
    }
}

impl Inode {
    /// Returns whether the inode has attributes after its fields.
    fn has_inode_xattrs(&self) -> bool {
        self.xattr_area.get(..4) == Some(&MAGIC.to_le_bytes())
    }

    /// Finds the part of inline content that does not fit in `i_block` (`system.data`). Returns
    /// its offset in the image and its length, both in bytes.
    pub(crate) fn inline_data_tail(&self) -> Result<Option<(u64, u64)>, ReadError> {
        let found = if self.has_inode_xattrs() {
            parse_inode_xattrs(self)?
        } else {
            Vec::new()
        };
        match found
            .into_iter()
            .find(RawXattr::is_inline_data)
            .map(|found| found.value)
        {
            Some(ValueLocation::Inline(offset, value)) => {
                Ok(Some((self.xattr_area_offset + 4 + offset as u64, value.len() as u64)))
            }
            Some(ValueLocation::Inode { .. }) => Err(self.damaged("the value of system.data is in another inode")),
            None => Ok(None),
        }
    }
}

impl RawXattr<'_> {
    fn value_inode(&self) -> Option<Ino> {
        match self.value {
            ValueLocation::Inode { ino, .. } => Some(ino),
            ValueLocation::Inline(..) => None,
        }
    }

    fn is_inline_data(&self) -> bool {
        self.name.as_deref() == Some(b"system.data")
    }
}

/// Returns whether a value inode has the hash of its value, in place of its time of access. A
/// value inode from before there were hashes has the number of the owning inode in place of its
/// time of modification instead (`EXT4_XATTR_INODE_GET_PARENT`).
fn value_hash_ok(owner: &Inode, value_inode: &Inode, value: &[u8], seed: Seed) -> bool {
    let is_legacy =
        value_inode.modified.seconds() == i64::from(owner.ino.get()) && value_inode.generation == owner.generation;
    let hash = value_inode.accessed.seconds() & i64::from(u32::MAX);
    is_legacy || hash == i64::from(checksum::value_hash(value, seed))
}

fn parse_inode_xattrs(inode: &Inode) -> Result<Vec<RawXattr<'_>>, ReadError> {
    let room = &inode.xattr_area[4..];
    parse_entries(inode, room, room)
}

/// Parses entries up to four zeros. The offsets of values count from the start of `base`.
fn parse_entries<'a>(inode: &Inode, mut entries: &'a [u8], base: &'a [u8]) -> Result<Vec<RawXattr<'a>>, ReadError> {
    let damaged = || inode.damaged("its attributes are invalid");
    let mut found = Vec::new();
    while entries.get(..4).ok_or_else(damaged)? != [0; 4] {
        let (entry, rest) = XattrEntry::read_from_prefix(entries).map_err(|_| damaged())?;
        let name_len = usize::from(entry.name_len);
        let suffix = rest.get(..name_len).ok_or_else(damaged)?;
        let namespace = xattr::namespace(entry.name_index);
        if namespace.is_none() && !HIDDEN_NAMESPACES.contains(&entry.name_index) {
            return Err(inode.damaged("an attribute has an unknown namespace"));
        }
        let len = usize::try_from(entry.value_size.get()).map_err(|_| damaged())?;
        if len > MAX_VALUE_LEN {
            return Err(damaged());
        }
        let value = match (entry.value_inum.get(), usize::from(entry.value_offs.get())) {
            (0, _) if len == 0 => ValueLocation::Inline(0, &[]),
            (0, offset) => ValueLocation::Inline(offset, base.get(offset..offset + len).ok_or_else(damaged)?),
            (ino, _) => ValueLocation::Inode { ino: Ino(ino), len },
        };
        found.push(RawXattr {
            name: namespace.map(|namespace| [namespace, suffix].concat()),
            name_index: entry.name_index,
            value,
        });
        entries = rest.get(name_len.next_multiple_of(4)..).ok_or_else(damaged)?;
    }
    Ok(found)
}
