//! Extended attributes: some in the inode, the others in a block that inodes with the same
//! attributes share. Values that are too large for the block are stored in attribute inodes
//! (`ea_inode`).

use std::cmp::Reverse;

use zerocopy::IntoBytes;

use crate::disk::acl;
use crate::disk::xattr::{
    INLINE_DATA, INODE_ROOM, MAGIC, NameBytes, TERMINATOR, XattrEntry, XattrHeader, block_hash, entry_hash, entry_len,
    is_acl, namespace, value_words,
};
use crate::disk::xattr::{MAX_VALUE_LEN, NAMESPACES};
use crate::error::FormatError;
use crate::tree::Xattrs;
use crate::units::{BlockSize, Ino};

/// An attribute as stored on disk. The order of the fields is the order in a block: by namespace,
/// length of the name, and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attribute {
    name_index: u8,
    name_len: u8,
    name: Box<[u8]>,
    value: Value,
}

/// Storage of a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    /// In the same inode or block as its entry.
    Local(Box<[u8]>),
    /// In an attribute inode.
    Inode { inode: AttributeInode, len: u32 },
}

/// An inode that stores the value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AttributeInode {
    pub(crate) ino: Ino,
    /// Hash of the value.
    pub(crate) hash: u32,
}

impl AttributeInode {
    /// A placeholder, where only sizes matter.
    pub(crate) const ANY: Self = Self { ino: Ino(0), hash: 0 };
}

impl Attribute {
    /// Length in bytes of the entry with its name.
    fn entry_len(&self) -> usize {
        entry_len(self.name.len())
    }

    /// Length in bytes of the entry and of a local value.
    fn len(&self) -> usize {
        self.entry_len() + self.local_value().len().next_multiple_of(4)
    }

    /// The value, if it is stored with the entry.
    fn local_value(&self) -> &[u8] {
        match &self.value {
            Value::Local(value) => value,
            Value::Inode { .. } => &[],
        }
    }

    /// The attribute inode, if it stores the value.
    pub(crate) fn attribute_inode(&self) -> Option<Ino> {
        match &self.value {
            Value::Local(_) => None,
            Value::Inode { inode, .. } => Some(inode.ino),
        }
    }

    /// Number of blocks of the attribute inode. Each file with the attribute includes them in its
    /// block count (e2fsck pass 1).
    pub(crate) fn value_blocks(&self, block_size: BlockSize) -> u64 {
        match &self.value {
            Value::Local(_) => 0,
            Value::Inode { len, .. } => block_size.blocks(u64::from(*len)),
        }
    }

    /// `e_hash` (`ext4_xattr_hash_entry`).
    fn hash(&self) -> u32 {
        match &self.value {
            Value::Local(value) => entry_hash(&self.name, NameBytes::Unsigned, value_words(value)),
            Value::Inode { inode, .. } => entry_hash(&self.name, NameBytes::Unsigned, [inode.hash]),
        }
    }
}

/// Reason why attributes cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum XattrsError {
    /// An attribute with the name of a POSIX ACL has a value that is not one.
    InvalidAcl { name: Vec<u8>, reason: &'static str },
    /// A name outside of the namespaces of Linux does not fit in the inode. e2fsck considers a
    /// block with such a name corrupt (pass 1).
    NoNamespace { name: Vec<u8> },
    /// The attributes do not fit in an inode and a block.
    TooLarge {
        largest: Vec<u8>,
        needed: usize,
        available: usize,
    },
}

impl XattrsError {
    /// Returns the error for the file with this path.
    pub(crate) fn for_path(self, path: String) -> FormatError {
        let text = |name: Vec<u8>| String::from_utf8_lossy(&name).into_owned();
        match self {
            Self::InvalidAcl { name, reason } => FormatError::InvalidAcl {
                path,
                name: text(name),
                reason,
            },
            Self::NoNamespace { name } => FormatError::NoNamespace { path, name: text(name) },
            Self::TooLarge {
                largest,
                needed,
                available,
            } => FormatError::XattrsTooLarge {
                path,
                name: text(largest),
                needed,
                available,
            },
        }
    }
}

/// Returns the attribute `system.data` with the part of inline content that `i_block` does not
/// hold.
fn inline_data(rest: &[u8]) -> Attribute {
    let (name_index, name) = INLINE_DATA;
    Attribute {
        name_index,
        name_len: u8::try_from(name.len()).expect("it is short"),
        name: name.into(),
        value: Value::Local(rest.into()),
    }
}

/// Storage of the attributes of an inode.
#[derive(Debug)]
pub(crate) struct XattrPlacement {
    /// Attributes in the inode, after its fields, as bytes.
    pub(crate) in_inode: [u8; INODE_ROOM],
    /// Attributes that need a block; may be empty.
    pub(crate) in_block: Vec<Attribute>,
}

/// Distributes attributes: as many as fit go to the inode, in the order of a block, and the others
/// to a block.
///
/// While the block is too small, `attribute_inode` assigns an attribute inode to the largest
/// value, or returns `None` if that is not allowed. The rest of inline content precedes all
/// attributes in the inode.
pub(crate) fn distribute(
    xattrs: &Xattrs,
    block_size: BlockSize,
    inline_rest: Option<&[u8]>,
    mut attribute_inode: impl FnMut(&[u8]) -> Option<AttributeInode>,
) -> Result<XattrPlacement, XattrsError> {
    let mut attributes = xattrs
        .iter()
        .map(|(name, value)| to_attribute(name, value))
        .collect::<Result<Vec<_>, _>>()?;
    attributes.sort_unstable();

    let mut free = INODE_ROOM - size_of_val(&MAGIC) - TERMINATOR;
    let mut in_inode = Vec::from_iter(inline_rest.map(inline_data));
    free -= in_inode.iter().map(Attribute::len).sum::<usize>();
    let (fitting, mut in_block): (Vec<_>, Vec<_>) = attributes.into_iter().partition(|attribute| {
        let fits = attribute.len() <= free;
        if fits {
            free -= attribute.len();
        }
        fits
    });
    in_inode.extend(fitting);
    if let Some(attribute) = in_block.iter().find(|attribute| attribute.name_index == 0) {
        return Err(XattrsError::NoNamespace {
            name: attribute.name.to_vec(),
        });
    }

    let available = block_size.len() - size_of::<XattrHeader>() - TERMINATOR;
    let mut needed = in_block.iter().map(Attribute::len).sum::<usize>();
    if needed > available {
        // The first one of those with the same length, so that the same attributes always result
        // in the same block.
        let mut by_len: Vec<usize> = (0..in_block.len()).collect();
        by_len.sort_by_key(|&index| Reverse(in_block[index].local_value().len()));
        let mut by_len = by_len.into_iter();
        while needed > available {
            // If every value has an attribute inode, the first attribute has no local value, which
            // is an error below.
            let largest = &mut in_block[by_len.next().unwrap_or(0)];
            let value = largest.local_value();
            match attribute_inode(value).filter(|_| (1..=MAX_VALUE_LEN).contains(&value.len())) {
                Some(inode) => {
                    let len = u32::try_from(value.len()).expect("at most 2^16");
                    needed -= largest.len() - largest.entry_len();
                    largest.value = Value::Inode { inode, len };
                }
                None => {
                    return Err(XattrsError::TooLarge {
                        largest: full_name(largest),
                        needed,
                        available,
                    });
                }
            }
        }
    }
    Ok(XattrPlacement {
        in_inode: encode_in_inode(&in_inode),
        in_block,
    })
}

/// Encodes a block of attributes without its checksum, which depends on the number of the block.
pub(crate) fn encode_block(attributes: &[Attribute], refcount: u32, block_size: BlockSize) -> Vec<u8> {
    let header = XattrHeader {
        magic: MAGIC.into(),
        refcount: refcount.into(),
        blocks: 1.into(),
        hash: block_hash(attributes.iter().map(Attribute::hash)).into(),
        checksum: 0.into(),
        reserved: [0.into(); 3],
    };
    let mut block = vec![0; block_size.len()];
    block[..size_of::<XattrHeader>()].copy_from_slice(header.as_bytes());
    write_entries(&mut block, size_of::<XattrHeader>(), 0, attributes, Attribute::hash);
    block
}

/// Encodes the attributes in an inode; zeros without attributes.
fn encode_in_inode(attributes: &[Attribute]) -> [u8; INODE_ROOM] {
    let mut bytes = [0; INODE_ROOM];
    if !attributes.is_empty() {
        let magic = MAGIC.to_le_bytes();
        bytes[..magic.len()].copy_from_slice(&magic);
        // The kernel does not store hashes in inodes.
        write_entries(&mut bytes, magic.len(), magic.len(), attributes, |_| 0);
    }
    bytes
}

/// Writes entries upwards from offset `first`, and values downwards from the end. Offsets of
/// values are relative to `base`.
fn write_entries(
    bytes: &mut [u8],
    first: usize,
    base: usize,
    attributes: &[Attribute],
    hash: impl Fn(&Attribute) -> u32,
) {
    let short = |number: usize| u16::try_from(number).expect("attributes lie in 64 KiB");
    let mut at = first;
    let mut end = bytes.len();
    for attribute in attributes {
        let value = attribute.local_value();
        end -= value.len().next_multiple_of(4);
        bytes[end..end + value.len()].copy_from_slice(value);
        let (value_inum, value_size) = match &attribute.value {
            Value::Local(value) => (0, u32::from(short(value.len()))),
            Value::Inode { inode, len } => (inode.ino.get(), *len),
        };
        let entry = XattrEntry {
            name_len: attribute.name_len,
            name_index: attribute.name_index,
            value_offs: if value.is_empty() { 0 } else { short(end - base) }.into(),
            value_inum: value_inum.into(),
            value_size: value_size.into(),
            hash: hash(attribute).into(),
        };
        bytes[at..at + size_of::<XattrEntry>()].copy_from_slice(entry.as_bytes());
        let name = at + size_of::<XattrEntry>();
        bytes[name..name + attribute.name.len()].copy_from_slice(&attribute.name);
        at += attribute.entry_len();
    }
}

/// Converts an attribute to its form on disk.
fn to_attribute(name: &[u8], value: &[u8]) -> Result<Attribute, XattrsError> {
    let (short, name_index) = NAMESPACES
        .iter()
        .find_map(|&(namespace, index)| {
            let rest = name.strip_prefix(namespace)?;
            // The name of an ACL is complete; another namespace must be followed by a name.
            (rest.is_empty() == is_acl(index) || index == 0).then_some((rest, index))
        })
        .expect("the empty prefix matches all");
    let value = if is_acl(name_index) {
        acl::to_disk(value).map_err(|reason| XattrsError::InvalidAcl {
            name: name.to_vec(),
            reason,
        })?
    } else {
        value.into()
    };
    let name_len = u8::try_from(short.len()).expect("names of attributes have at most 255 bytes");
    Ok(Attribute {
        name_index,
        name_len,
        name: short.into(),
        value: Value::Local(value),
    })
}

/// Returns the name of an attribute with its namespace.
fn full_name(attribute: &Attribute) -> Vec<u8> {
    [namespace(attribute.name_index).unwrap_or_default(), &attribute.name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_values_get_attribute_inodes_the_first_among_equals() {
        let mut xattrs = Xattrs::default();
        for (name, len) in [("user.a", 1000), ("user.b", 3000), ("user.c", 3000), ("user.d", 900)] {
            xattrs.set(name.as_bytes(), &vec![1; len]).unwrap();
        }
        let mut values = Vec::new();
        let placement = distribute(&xattrs, BlockSize::Kib4, None, |value| {
            values.push(value.len());
            Some(AttributeInode::ANY)
        });
        let in_block = placement.unwrap().in_block;
        assert_eq!(values, [3000, 3000], "the third largest fits");
        let moved = in_block
            .iter()
            .filter(|attribute| attribute.attribute_inode().is_some());
        assert_eq!(
            moved.map(|attribute| &*attribute.name).collect::<Vec<_>>(),
            [b"b", b"c"]
        );
    }

    #[test]
    fn many_attributes_of_a_file_are_refused_in_linear_time() {
        // Adding up all lengths again for each moved value would take hours.
        let mut xattrs = Xattrs::default();
        for index in 0..1_000_000 {
            xattrs.set(format!("user.{index:07}").as_bytes(), b"x").unwrap();
        }
        let error = distribute(&xattrs, BlockSize::Kib64, None, |_| Some(AttributeInode::ANY)).unwrap_err();
        let XattrsError::TooLarge { largest, needed, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(largest, b"user.0000003", "the first one that does not fit in the inode");
        assert_eq!(needed, (1_000_000 - 3) * 24);
    }

    #[test]
    fn names_outside_of_the_namespaces_are_stored_in_inodes_only() {
        let distribute_value = |value: &[u8]| {
            let mut xattrs = Xattrs::default();
            xattrs.set(b"com.apple.note", value).unwrap();
            distribute(&xattrs, BlockSize::Kib4, None, |_| Some(AttributeInode::ANY))
        };
        assert!(distribute_value(&[1; 56]).unwrap().in_block.is_empty());
        let name = b"com.apple.note".to_vec();
        assert_eq!(
            distribute_value(&[1; 57]).unwrap_err(),
            XattrsError::NoNamespace { name }
        );
    }
}
