//! Directory entries, and blocks of them.

use zerocopy::{FromBytes, IntoBytes};

use crate::checksum::Seed;
use crate::disk::dir_entry::{DirEntry, DirEntryTail, entry_len};
use crate::disk::hash::NameHasher;
use crate::file_type::FileType;
use crate::seal::{self, Sealed};
use crate::units::{BlockSize, Ino};

/// An entry of a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectoryEntry<'name> {
    pub(crate) name: &'name [u8],
    pub(crate) ino: Ino,
    pub(crate) file_type: FileType,
}

impl DirectoryEntry<'_> {
    /// Length of the entry in bytes, a multiple of 4.
    pub(crate) fn len(&self) -> usize {
        entry_len(self.name.len())
    }
}

/// Properties of a directory that its blocks depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectoryContext {
    pub(crate) ino: Ino,
    pub(crate) parent: Ino,
    pub(crate) block_size: BlockSize,
    /// Checksum seed of the directory's inode.
    pub(crate) seed: Seed,
    pub(crate) hasher: NameHasher,
}

impl DirectoryContext {
    /// Returns the entries `.` and `..`.
    pub(crate) fn dots(&self) -> [DirectoryEntry<'static>; 2] {
        [(&b"."[..], self.ino), (b"..", self.parent)].map(|(name, ino)| DirectoryEntry {
            name,
            ino,
            file_type: FileType::Directory,
        })
    }

    /// Length in bytes of a block before its checksum.
    fn len_before_checksum(&self) -> usize {
        self.block_size.len() - size_of::<DirEntryTail>()
    }

    /// Maximum number of bytes of entries in a block.
    ///
    /// It is less than the space before the checksum, because tune2fs requires more space after
    /// the last entry when it turns `metadata_csum` off and on (`rewrite_dir_block`). It skips a
    /// block without this space, which then has an invalid checksum.
    pub(crate) fn capacity(&self) -> usize {
        self.len_before_checksum() - 4
    }
}

/// Encodes a block of entries, which must fit.
pub(crate) fn encode_leaf<'entry, 'name: 'entry>(
    entries: impl Iterator<Item = &'entry DirectoryEntry<'name>>,
    context: &DirectoryContext,
) -> Sealed<Vec<u8>> {
    let len = context.len_before_checksum();
    let mut block = Vec::with_capacity(context.block_size.len());
    let mut last = 0;
    for entry in entries {
        last = block.len();
        push_entry(&mut block, entry, entry.len());
    }
    // The last entry spans the rest of the block. A block without entries has an unused one.
    if block.is_empty() {
        block.extend_from_slice(DirEntry::unused(len).as_bytes());
    } else {
        let (entry, _) = DirEntry::mut_from_prefix(&mut block[last..]).expect("an entry was added there");
        entry.set_len(len - last);
    }
    block.resize(len, 0);
    block.extend_from_slice(DirEntryTail::new().as_bytes());
    seal::directory_block(block, context.seed)
}

/// Appends an entry of `len` bytes, and pads its name.
pub(crate) fn push_entry(block: &mut Vec<u8>, entry: &DirectoryEntry<'_>, len: usize) {
    let start = block.len();
    let name_len = u8::try_from(entry.name.len()).expect("a name has at most 255 bytes");
    let header = DirEntry::new(entry.ino, len, name_len, entry.file_type.entry_type());
    block.extend_from_slice(header.as_bytes());
    block.extend_from_slice(entry.name);
    block.resize(start + entry.len(), 0);
}
