//! Extended attributes: of the inode, of its block, and those whose values have inodes of their own.

use zerocopy::FromBytes;

use super::sums::{expect, is_right_xattr_block};
use super::{Inode, ReadError, Reader, Structure};
use crate::checksum::{self, Seed};
use crate::disk::acl;
use crate::disk::inode::InodeFlags;
use crate::disk::xattr::{self, HIDDEN_NAMESPACES, MAGIC, MAX_VALUE_LEN, XattrEntry, XattrHeader};
use crate::read_at::ReadAt;
use crate::tree::Xattrs;
use crate::units::Ino;

/// An attribute whose value is not there yet.
struct Found<'a> {
    /// None if no system call shows it.
    name: Option<Vec<u8>>,
    name_index: u8,
    value: Place<'a>,
}

/// Where the value is.
enum Place<'a> {
    /// So many bytes after the start of what holds the attributes.
    Near(usize, &'a [u8]),
    Inode {
        ino: Ino,
        len: usize,
    },
}

impl<R: ReadAt> Reader<R> {
    /// The extended attributes of an inode, as the system calls show them.
    ///
    /// # Errors
    ///
    /// [`ReadError::Inode`] if they make no sense, and [`ReadError::Input`].
    pub fn xattrs(&self, inode: &Inode) -> Result<Xattrs, ReadError> {
        let mut xattrs = Xattrs::default();
        if inode.has_attributes() {
            let mut found = parse_room(inode)?;
            if inode.has(InodeFlags::INLINE_DATA) {
                found.retain(|attribute| !attribute.is_inline_data());
            }
            self.collect(inode, found, &mut xattrs)?;
        }
        if let Some(block) = inode.xattr_block {
            let nr = block;
            let block = self.read_block(inode.ino, nr)?;
            let none = || inode.damaged("its block of attributes is none");
            let (header, entries) = XattrHeader::read_from_prefix(&block).map_err(|_| none())?;
            if header.magic.get() != MAGIC {
                return Err(none());
            }
            let is_right = |seed| is_right_xattr_block(&block, &header, nr, seed);
            let (ino, nr) = (inode.ino.get(), nr.get());
            expect(
                self.sums.seed().is_none_or(is_right),
                Structure::XattrBlock { ino, block: nr },
            )?;
            self.collect(inode, parse(inode, entries, &block)?, &mut xattrs)?;
        }
        Ok(xattrs)
    }

    /// Seed of the hashes of values that have inodes of their own. It is there without checksums
    /// too.
    pub(crate) fn value_seed(&self) -> Seed {
        let seed = self.sums.seed();
        seed.unwrap_or_else(|| Seed::of_uuid(&self.superblock.uuid))
    }

    /// The inode that holds a value of so many bytes, and the value.
    fn value(&self, ino: Ino, len: usize) -> Result<(Inode, Vec<u8>), ReadError> {
        let holder = self.read_inode(ino)?;
        let value = self.read_whole(&holder, len)?;
        Ok((holder, value))
    }

    /// The inodes that hold values of an inode's attributes, each once.
    pub(super) fn value_inodes(&self, inode: &Inode) -> Result<Vec<Ino>, ReadError> {
        let mut inos: Vec<Ino> = Vec::new();
        if inode.has_attributes() {
            inos.extend(parse_room(inode)?.iter().filter_map(Found::value_inode));
        }
        if let Some(block) = inode.xattr_block {
            let block = self.read_block(inode.ino, block)?;
            let entries = block.get(size_of::<XattrHeader>()..).unwrap_or_default();
            inos.extend(parse(inode, entries, &block)?.iter().filter_map(Found::value_inode));
        }
        inos.sort_unstable();
        inos.dedup();
        Ok(inos)
    }

    fn collect(&self, inode: &Inode, found: Vec<Found<'_>>, xattrs: &mut Xattrs) -> Result<(), ReadError> {
        for Found {
            name,
            name_index,
            value,
        } in found
        {
            let Some(name) = name else {
                continue;
            };
            let value = match value {
                Place::Near(_, value) => value.to_vec(),
                Place::Inode { ino, len } => {
                    let (holder, value) = self.value(ino, len)?;
                    let ino = ino.get();
                    expect(
                        is_right_value(inode, &holder, &value, self.value_seed()),
                        Structure::XattrValue { ino },
                    )?;
                    value
                }
            };
            let value = if xattr::is_acl(name_index) {
                acl::from_disk(&value).ok_or_else(|| inode.damaged("an ACL makes no sense"))?
            } else {
                value
            };
            let is_new = xattrs.get(&name).is_none();
            xattrs
                .set(&name, &value)
                .ok()
                .filter(|()| is_new)
                .ok_or_else(|| inode.damaged("the name of an attribute cannot be, or is there twice"))?;
        }
        Ok(())
    }
}

impl Inode {
    fn has_attributes(&self) -> bool {
        self.room.get(..4) == Some(&MAGIC.to_le_bytes())
    }

    /// Where in the image the content goes on that begins in `i_block` (`system.data`), and for how many bytes.
    pub(crate) fn inline_rest(&self) -> Result<Option<(u64, u64)>, ReadError> {
        let found = if self.has_attributes() {
            parse_room(self)?
        } else {
            Vec::new()
        };
        match found.into_iter().find(Found::is_inline_data).map(|found| found.value) {
            Some(Place::Near(offset, value)) => Ok(Some((self.room_offset + 4 + offset as u64, value.len() as u64))),
            Some(Place::Inode { .. }) => Err(self.damaged("its content lies in it and elsewhere")),
            None => Ok(None),
        }
    }
}

impl Found<'_> {
    fn value_inode(&self) -> Option<Ino> {
        match self.value {
            Place::Inode { ino, .. } => Some(ino),
            Place::Near(..) => None,
        }
    }

    fn is_inline_data(&self) -> bool {
        self.name.as_deref() == Some(b"system.data")
    }
}

/// Returns whether the hash in an inode that holds a value, which is where its time of access would
/// be, is that of the value. Inodes from before there were hashes have the number of the file there
/// instead (`EXT4_XATTR_INODE_GET_PARENT`).
fn is_right_value(owner: &Inode, holder: &Inode, value: &[u8], seed: Seed) -> bool {
    let is_old = holder.modified.seconds() == i64::from(owner.ino.get()) && holder.generation == owner.generation;
    let hash = holder.accessed.seconds() & i64::from(u32::MAX);
    is_old || hash == i64::from(checksum::value_hash(value, seed))
}

fn parse_room(inode: &Inode) -> Result<Vec<Found<'_>>, ReadError> {
    let room = &inode.room[4..];
    parse(inode, room, room)
}

/// Entries up to four zeros; offsets of values count from the start of `base`.
fn parse<'a>(inode: &Inode, mut entries: &'a [u8], base: &'a [u8]) -> Result<Vec<Found<'a>>, ReadError> {
    let damaged = || inode.damaged("its attributes make no sense");
    let mut found = Vec::new();
    while entries.get(..4).ok_or_else(damaged)? != [0; 4] {
        let (entry, rest) = XattrEntry::read_from_prefix(entries).map_err(|_| damaged())?;
        let name_len = usize::from(entry.name_len);
        let short = rest.get(..name_len).ok_or_else(damaged)?;
        let namespace = xattr::namespace(entry.name_index);
        if namespace.is_none() && !HIDDEN_NAMESPACES.contains(&entry.name_index) {
            return Err(inode.damaged("an attribute of an unknown namespace"));
        }
        let len = usize::try_from(entry.value_size.get()).map_err(|_| damaged())?;
        if len > MAX_VALUE_LEN {
            return Err(damaged());
        }
        let value = match (entry.value_inum.get(), usize::from(entry.value_offs.get())) {
            (0, _) if len == 0 => Place::Near(0, &[]),
            (0, offset) => Place::Near(offset, base.get(offset..offset + len).ok_or_else(damaged)?),
            (ino, _) => Place::Inode { ino: Ino(ino), len },
        };
        found.push(Found {
            name: namespace.map(|namespace| [namespace, short].concat()),
            name_index: entry.name_index,
            value,
        });
        entries = rest.get(name_len.next_multiple_of(4)..).ok_or_else(damaged)?;
    }
    Ok(found)
}
