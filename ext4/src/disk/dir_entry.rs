//! Directory entries, linear and indexed ("Directory Entries" in the kernel's documentation).

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use super::assert_layout;
use crate::file_type::FileType;
use crate::units::Ino;

/// Length in bytes of the fixed part of an entry, before its name.
pub(crate) const HEADER_LEN: usize = size_of::<DirEntry>();
/// Length in bytes of the shortest entry, whose name has 1 to 4 bytes.
pub(crate) const MIN_LEN: usize = 12;

/// Maximum levels of index nodes without the feature `large_dir` (`EXT4_HTREE_LEVEL_COMPAT`).
pub(crate) const MAX_INDEX_LEVELS: usize = 2;
/// Maximum levels of index nodes with the feature `large_dir` (`EXT4_HTREE_LEVEL`).
pub(crate) const MAX_LARGE_INDEX_LEVELS: usize = 3;
/// Bits of an index entry's block field that name a block of the directory. The other bits have
/// other uses (`dx_get_block`).
pub(crate) const INDEX_BLOCK_MASK: u32 = 0x0FFF_FFFF;
/// Offset in bytes of [`IndexRootInfo`] in the root of an index: after the entries `.` and `..`.
pub(crate) const INDEX_ROOT_INFO: usize = 2 * MIN_LEN;
/// Offset in bytes of the index entries in the root of an index.
pub(crate) const INDEX_ROOT_ENTRIES: usize = INDEX_ROOT_INFO + size_of::<IndexRootInfo>();
/// Offset in bytes of the index entries in a node below the root: after an unused directory entry.
pub(crate) const INDEX_NODE_ENTRIES: usize = HEADER_LEN;

/// File type in the entry that holds the checksum of a block (`EXT4_FT_DIR_CSUM`).
const CHECKSUM: u8 = 0xDE;

/// Fixed part of a directory entry, 8 bytes, before its name (`struct ext4_dir_entry_2`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct DirEntry {
    pub(crate) inode: U32,
    pub(crate) rec_len: U16,
    pub(crate) name_len: u8,
    pub(crate) file_type: u8,
}

impl DirEntry {
    /// Returns an entry of `len` bytes, without its name.
    pub(crate) fn new(ino: Ino, len: usize, name_len: u8, file_type: u8) -> Self {
        Self {
            inode: ino.get().into(),
            rec_len: rec_len_to_disk(len).into(),
            name_len,
            file_type,
        }
    }

    /// Returns an unused entry of `len` bytes.
    pub(crate) fn unused(len: usize) -> Self {
        Self::new(Ino(0), len, 0, 0)
    }

    /// Sets the length of the entry in bytes.
    pub(crate) fn set_len(&mut self, len: usize) {
        self.rec_len.set(rec_len_to_disk(len));
    }

    /// Returns the length of the entry in bytes, in a block of `block_len` bytes.
    pub(crate) fn len(&self, block_len: usize) -> usize {
        rec_len_from_disk(self.rec_len.get(), block_len)
    }

    /// Splits the first entry off `bytes`, which are part of a block of `block_len` bytes. Returns
    /// its fixed part, the bytes for its name, and the bytes after the entry. Returns `None` if
    /// its length is invalid.
    pub(crate) fn split(bytes: &[u8], block_len: usize) -> Option<(&Self, &[u8], &[u8])> {
        let (entry, _) = Self::ref_from_prefix(bytes).ok()?;
        let len = entry.len(block_len);
        if len < MIN_LEN || len > bytes.len() || len % 4 != 0 {
            return None;
        }
        Some((entry, &bytes[HEADER_LEN..len], &bytes[len..]))
    }

    /// Returns the name, given the bytes for it that [`DirEntry::split`] returned, or `None` if it
    /// is longer than they are.
    pub(crate) fn name<'a>(&self, room: &'a [u8]) -> Option<&'a [u8]> {
        room.get(..self.name_len.into())
    }
}

/// Bytes before the entries of an inline directory: the inode number of the parent directory.
pub(crate) const INLINE_PARENT_LEN: usize = size_of::<U32>();

/// Returns the length in bytes of an entry with a name of `name_len` bytes, a multiple of 4.
pub(crate) const fn entry_len(name_len: usize) -> usize {
    (HEADER_LEN + name_len).next_multiple_of(4)
}

/// Returns `rec_len` of an entry of `len` bytes. 65,535 stands for 65,536
/// (`ext4_rec_len_to_disk`).
pub(crate) fn rec_len_to_disk(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// Returns the length in bytes that `rec_len` stands for in a block of `block_len` bytes. A length
/// of 64 KiB does not fit in 16 bits (`ext4_rec_len_from_disk`).
pub(crate) fn rec_len_from_disk(rec_len: u16, block_len: usize) -> usize {
    match rec_len {
        0 | u16::MAX if block_len == 1 << 16 => block_len,
        len => len.into(),
    }
}

impl FileType {
    /// Returns the number of the type in directory entries (`EXT4_FT_*`).
    pub(crate) fn entry_type(self) -> u8 {
        match self {
            Self::RegularFile => 1,
            Self::Directory => 2,
            Self::CharacterDevice => 3,
            Self::BlockDevice => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
        }
    }

    /// Returns the type with a number in directory entries, or `None` for an unknown number. 0 is
    /// the number of an unknown type.
    pub(crate) fn from_entry_type(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|file_type| file_type.entry_type() == number)
    }
}

/// Last 12 bytes of a block of directory entries (`struct ext4_dir_entry_tail`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct DirEntryTail {
    pub(crate) entry: DirEntry,
    pub(crate) checksum: U32,
}

impl DirEntryTail {
    /// Returns a tail whose checksum is zero.
    pub(crate) fn new() -> Self {
        Self {
            entry: DirEntry::new(Ino(0), size_of::<Self>(), 0, CHECKSUM),
            checksum: 0.into(),
        }
    }

    /// Returns the tail of a block, if it has one.
    pub(crate) fn of(block: &[u8]) -> Option<&Self> {
        let (_, tail) = Self::ref_from_suffix(block).ok()?;
        (tail.entry.as_bytes() == Self::new().entry.as_bytes()).then_some(tail)
    }
}

/// Description of an index in its root, 8 bytes (`struct dx_root_info`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct IndexRootInfo {
    pub(crate) reserved_zero: U32,
    pub(crate) hash_version: u8,
    pub(crate) info_length: u8,
    pub(crate) indirect_levels: u8,
    pub(crate) unused_flags: u8,
}

impl IndexRootInfo {
    /// Returns the description of an index with `indirect_levels` levels of nodes below the root.
    pub(crate) fn new(hash_version: u8, indirect_levels: u8) -> Self {
        Self {
            reserved_zero: 0.into(),
            hash_version,
            info_length: 8,
            indirect_levels,
            unused_flags: 0,
        }
    }

    /// Returns whether the fields with a fixed value have it.
    pub(crate) fn is_valid(&self) -> bool {
        self.reserved_zero.get() == 0 && self.info_length == 8 && self.unused_flags & 1 == 0
    }
}

/// Returns the offset of the index entries in a block, or `None` if the block is not an index node
/// (`get_dx_countlimit`).
pub(crate) fn index_entries(block: &[u8], is_root: bool) -> Option<usize> {
    if is_root {
        return Some(INDEX_ROOT_ENTRIES);
    }
    let (entry, _) = DirEntry::ref_from_prefix(block).ok()?;
    let spans_all = entry.len(block.len()) == block.len();
    (spans_all && entry.inode.get() == 0).then_some(INDEX_NODE_ENTRIES)
}

/// Returns how many index entries fit in a node whose entries begin at `entries`. With checksums,
/// a tail ends the node.
pub(crate) const fn index_limit(entries: usize, block_len: usize, has_checksums: bool) -> usize {
    let tail = if has_checksums { size_of::<IndexTail>() } else { 0 };
    (block_len - entries - tail) / size_of::<IndexEntry>()
}

/// Capacity of an index node and number of its entries, in place of the first entry's hash
/// (`struct dx_countlimit`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct IndexCountLimit {
    pub(crate) limit: U16,
    pub(crate) count: U16,
}

/// Entry of an index node, 8 bytes (`struct dx_entry`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct IndexEntry {
    pub(crate) hash: U32,
    pub(crate) block: U32,
}

impl IndexEntry {
    /// Returns the block of the directory that the entry leads to.
    pub(crate) fn child(&self) -> u32 {
        self.block.get() & INDEX_BLOCK_MASK
    }
}

/// End of an index node, 8 bytes (`struct dx_tail`).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct IndexTail {
    pub(crate) reserved: U32,
    pub(crate) checksum: U32,
}

assert_layout!(DirEntry: 8, name_len @ 6);
assert_layout!(DirEntryTail: 12, checksum @ 8);
assert_layout!(IndexRootInfo: 8, indirect_levels @ 6);
assert_layout!(IndexCountLimit: 4, count @ 2);
assert_layout!(IndexEntry: 8, block @ 4);
assert_layout!(IndexTail: 8, checksum @ 4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_entries_round_trip() {
        for block_len in [1 << 10, 1 << 11, 1 << 12, 1 << 16] {
            for len in (MIN_LEN..=block_len).step_by(4) {
                assert_eq!(rec_len_from_disk(rec_len_to_disk(len), block_len), len, "{block_len}");
            }
        }
        assert_eq!(rec_len_from_disk(0, 1 << 16), 1 << 16);
        assert_eq!(rec_len_from_disk(0, 1 << 12), 0);
    }

    #[test]
    fn entries_of_invalid_length_are_not_split_off() {
        let entry = |len: u16| {
            let mut bytes = DirEntry::new(Ino(11), 0, 3, 1).as_bytes().to_vec();
            bytes[4..6].copy_from_slice(&len.to_le_bytes());
            bytes.extend(b"abc\0wxyz");
            bytes
        };
        for (len, expected) in [
            (0, None),
            (8, None),
            (12, Some((&b"abc\0"[..], &b"wxyz"[..]))),
            (14, None),
            (16, Some((b"abc\0wxyz", b""))),
            (20, None),
        ] {
            let bytes = entry(len);
            let split = DirEntry::split(&bytes, 1 << 12);
            assert_eq!(split.map(|(_, room, rest)| (room, rest)), expected, "{len}");
            if let Some((entry, room, _)) = split {
                assert_eq!(entry.name(room), Some(&b"abc"[..]));
            }
        }
    }

    #[test]
    fn entry_types_round_trip() {
        let numbers: Vec<u8> = (0..=255)
            .filter(|&number| FileType::from_entry_type(number).is_some())
            .collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
        for file_type in FileType::ALL {
            assert_eq!(FileType::from_entry_type(file_type.entry_type()), Some(file_type));
        }
    }

    #[test]
    fn a_tail_with_one_wrong_bit_is_not_recognized() {
        let mut block = vec![0; 1024];
        block[1012..].copy_from_slice(DirEntryTail::new().as_bytes());
        assert!(DirEntryTail::of(&block).is_some());
        for index in 1012..1020 {
            block[index] ^= 1;
            assert!(DirEntryTail::of(&block).is_none(), "{index}");
            block[index] ^= 1;
        }
    }
}
