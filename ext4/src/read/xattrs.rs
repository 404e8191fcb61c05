//! Extended attributes: of the inode, of its block, and those whose values have inodes of their own.

use zerocopy::FromBytes;

use super::{FoundInode, ReadError, Reader};
use crate::disk::inode::InodeFlags;
use crate::disk::xattr::{HIDDEN_NAMESPACES, MAGIC, XattrEntry, XattrHeader};
use crate::encode::xattrs::{MAX_VALUE_LEN, NAMESPACES};
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
    pub fn xattrs(&self, inode: &FoundInode) -> Result<Xattrs, ReadError> {
        let mut xattrs = Xattrs::default();
        if inode.has_attributes() {
            let mut found = parse_room(inode)?;
            if inode.flags.contains(InodeFlags::INLINE_DATA) {
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
            self.verify_xattr_block(inode, nr, &block, &header)?;
            self.collect(inode, parse(inode, entries, &block)?, &mut xattrs)?;
        }
        Ok(xattrs)
    }

    /// The inode that holds a value of so many bytes, and the value.
    fn value(&self, ino: Ino, len: usize) -> Result<(FoundInode, Vec<u8>), ReadError> {
        let holder = self.read_inode(ino)?;
        let value = self.read_whole(&holder, len)?;
        Ok((holder, value))
    }

    /// The inodes that hold values of an inode's attributes, each once.
    pub(super) fn value_inodes(&self, inode: &FoundInode) -> Result<Vec<Ino>, ReadError> {
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

    fn collect(&self, inode: &FoundInode, found: Vec<Found<'_>>, xattrs: &mut Xattrs) -> Result<(), ReadError> {
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
                    self.verify_value(inode, &holder, &value)?;
                    value
                }
            };
            let value = match name_index {
                2 | 3 => acl(&value).ok_or_else(|| inode.damaged("an ACL makes no sense"))?,
                _ => value,
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

impl FoundInode {
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
            Some(Place::Near(offset, value)) => Ok(Some((self.room_at + 4 + offset as u64, value.len() as u64))),
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

fn parse_room(inode: &FoundInode) -> Result<Vec<Found<'_>>, ReadError> {
    let room = &inode.room[4..];
    parse(inode, room, room)
}

/// Entries up to four zeros; offsets of values count from the start of `base`.
fn parse<'a>(inode: &FoundInode, mut entries: &'a [u8], base: &'a [u8]) -> Result<Vec<Found<'a>>, ReadError> {
    let damaged = || inode.damaged("its attributes make no sense");
    let mut found = Vec::new();
    while entries.get(..4).ok_or_else(damaged)? != [0; 4] {
        let (entry, rest) = XattrEntry::read_from_prefix(entries).map_err(|_| damaged())?;
        let name_len = usize::from(entry.name_len);
        let short = rest.get(..name_len).ok_or_else(damaged)?;
        let namespace = NAMESPACES.iter().find(|(_, index)| *index == entry.name_index);
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
            name: namespace.map(|(namespace, _)| [namespace, short].concat()),
            name_index: entry.name_index,
            value,
        });
        entries = rest.get(name_len.next_multiple_of(4)..).ok_or_else(damaged)?;
    }
    Ok(found)
}

/// An ACL of the disk's form in that of the system call (`ext4_acl_from_disk`, `posix_acl_to_xattr`).
fn acl(disk: &[u8]) -> Option<Vec<u8>> {
    const USER: u16 = 0x02;
    const GROUP: u16 = 0x08;
    let (version, mut rest) = disk.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != 1 {
        return None;
    }
    let mut value = 2u32.to_le_bytes().to_vec();
    while let Some((entry, after)) = rest.split_first_chunk::<4>() {
        value.extend_from_slice(entry);
        rest = after;
        if matches!(u16::from_le_bytes([entry[0], entry[1]]), USER | GROUP) {
            let (id, after) = rest.split_first_chunk::<4>()?;
            value.extend_from_slice(id);
            rest = after;
        } else {
            // `ACL_UNDEFINED_ID`
            value.extend_from_slice(&u32::MAX.to_le_bytes());
        }
    }
    rest.is_empty().then_some(value)
}
