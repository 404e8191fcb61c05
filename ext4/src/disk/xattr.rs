//! Extended attributes ("Extended Attributes" in the kernel's documentation).

use zerocopy::little_endian::{U16, U32};

use super::assert_layout;
use crate::units::sign_extend;

/// `h_magic` of a block of attributes, and of the attributes in an inode.
pub(crate) const MAGIC: u32 = 0xEA02_0000;
/// Maximum inodes that share a block (`EXT4_XATTR_REFCOUNT_MAX`).
pub(crate) const MAX_REFCOUNT: u32 = 1024;
/// Indexes of namespaces that no system call shows: those of other systems, of encryption and of
/// fs-verity (`EXT4_XATTR_INDEX_LUSTRE`, `_RICHACL`, `_ENCRYPTION`, `_HURD`, `_VERITY`).
pub(crate) const HIDDEN_NAMESPACES: [u8; 5] = [5, 8, 9, 10, 11];

/// Maximum length of a value in bytes (`XATTR_SIZE_MAX`).
pub(crate) const MAX_VALUE_LEN: usize = 1 << 16;

/// Space for attributes in an inode of 256 bytes, in bytes. It holds the magic number, entries and
/// values.
pub(crate) const INODE_ROOM: usize = 96;
/// Length in bytes of the zeros that must follow the last entry.
pub(crate) const TERMINATOR: usize = 4;

/// Namespace index and name of the attribute `system.data`. Its value is the part of an inode's
/// inline content that does not fit in `i_block`.
pub(crate) const INLINE_DATA: (u8, &[u8]) = (7, b"data");

/// Prefixes of names and their namespace indexes (`EXT4_XATTR_INDEX_*`). Whole names come before
/// the prefixes that they begin with.
pub(crate) const NAMESPACES: [(&[u8], u8); 7] = [
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"user.", 1),
    (b"trusted.", 4),
    (b"security.", 6),
    (b"system.", 7),
    (b"", 0),
];

/// Header of a block of attributes, 32 bytes (`struct ext4_xattr_header`).
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct XattrHeader {
    pub(crate) magic: U32,
    pub(crate) refcount: U32,
    pub(crate) blocks: U32,
    pub(crate) hash: U32,
    pub(crate) checksum: U32,
    pub(crate) reserved: [U32; 3],
}

/// Fixed part of an entry, 16 bytes, before the name of the attribute (`struct ext4_xattr_entry`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct XattrEntry {
    pub(crate) name_len: u8,
    pub(crate) name_index: u8,
    pub(crate) value_offs: U16,
    pub(crate) value_inum: U32,
    pub(crate) value_size: U32,
    pub(crate) hash: U32,
}

impl XattrEntry {
    /// Returns the length of the entry in bytes, including its name.
    pub(crate) fn len(&self) -> usize {
        entry_len(self.name_len.into())
    }
}

/// Returns the length in bytes of an entry with a name of `name_len` bytes, a multiple of 4.
pub(crate) const fn entry_len(name_len: usize) -> usize {
    size_of::<XattrEntry>() + name_len.next_multiple_of(4)
}

/// Returns whether a namespace index stands for a POSIX ACL. The name of that attribute is the
/// namespace itself.
pub(crate) fn is_acl(name_index: u8) -> bool {
    matches!(name_index, 2 | 3)
}

/// Returns the prefix of names with a namespace index, or `None` if the index is unknown or
/// hidden.
pub(crate) fn namespace(name_index: u8) -> Option<&'static [u8]> {
    let mut namespaces = NAMESPACES.iter();
    let found = namespaces.find(|(_, index)| *index == name_index);
    found.map(|(namespace, _)| *namespace)
}

/// Interpretation of a name's bytes in a hash: old kernels took them as signed
/// (`ext4_xattr_hash_entry_signed`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameBytes {
    Unsigned,
    Signed,
}

/// Returns `e_hash` of an attribute (`ext4_xattr_hash_entry`). `value` has the words from
/// [`value_words`], or the hash of the value if it has an inode of its own.
pub(crate) fn entry_hash(name: &[u8], bytes: NameBytes, value: impl IntoIterator<Item = u32>) -> u32 {
    let number = |byte: u8| match bytes {
        NameBytes::Unsigned => byte.into(),
        NameBytes::Signed => sign_extend(byte),
    };
    let name = name
        .iter()
        .fold(0_u32, |hash, &byte| hash.rotate_left(5) ^ number(byte));
    value.into_iter().fold(name, |hash, word| hash.rotate_left(16) ^ word)
}

/// Splits a value into words for [`entry_hash`]. The last word is padded with zeros.
pub(crate) fn value_words(value: &[u8]) -> impl Iterator<Item = u32> + Clone {
    value.chunks(4).map(|chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u32::from_le_bytes(word)
    })
}

/// Returns `h_hash` of a block of attributes with these hashes. A hash of zero makes the result
/// zero; the kernel then never shares the block (`ext4_xattr_rehash`).
pub(crate) fn block_hash(entry_hashes: impl IntoIterator<Item = u32>) -> u32 {
    let mut hashes = entry_hashes.into_iter();
    let all = hashes.try_fold(0_u32, |all, hash| (hash != 0).then(|| all.rotate_left(16) ^ hash));
    all.unwrap_or(0)
}

assert_layout!(XattrHeader: 32, checksum @ 16);
assert_layout!(XattrEntry: 16, value_offs @ 2);
