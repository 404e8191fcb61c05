//! Checks the entries of directories (`check_dir_block` of e2fsck).

use super::{Checker, Problem};
use crate::checksum::Seed;
use crate::disk::dir_entry::{DirEntry, DirEntryTail, MIN_LEN};
use crate::disk::features::Features;
use crate::disk::hash::NameHasher;
use crate::file_type::FileType;
use crate::read::Structure;
use crate::read_at::ReadAt;
use crate::units::{Ino, join};

/// Directory under check.
pub(super) struct CheckedDirectory {
    pub(super) ino: Ino,
    /// Seed of the checksums of its blocks, if they have any.
    pub(super) seed: Option<Seed>,
    /// Two hashes of each name, to find duplicate names. The hash of the index may be weak, so it
    /// is not used here.
    pub(super) fingerprints: Vec<(u64, u32)>,
    /// Hash of names in the index, if there is one.
    pub(super) hasher: Option<NameHasher>,
    /// Smallest and largest hash of a name in the current block.
    pub(super) hash_range: Option<(u32, u32)>,
}

impl<R: ReadAt> Checker<R> {
    /// Checks the first block of a directory: `.` and `..`, and the other entries, unless the
    /// block is the root of an index.
    pub(super) fn check_first_block(
        &mut self,
        structure: Structure,
        directory: &mut CheckedDirectory,
        bytes: &[u8],
        is_root: bool,
    ) {
        let Some((dot, rest)) = self.split_entry(structure, bytes, bytes.len()) else {
            return;
        };
        let is_right = dot.name == b"." && dot.terminated && dot.ino == directory.ino.get();
        self.require(is_right, structure, Problem::DotMissing);
        self.check_dot_type(structure, &dot);
        let Some((dot_dot, rest)) = self.split_entry(structure, rest, bytes.len()) else {
            return;
        };
        let is_right = dot_dot.name == b".." && dot_dot.terminated;
        self.require(is_right, structure, Problem::DotDotMissing);
        self.check_dot_type(structure, &dot_dot);
        self.count_dot_links(directory.ino, dot_dot.ino, structure);
        if is_root {
            let is_right = dot.len == MIN_LEN && dot_dot.len == bytes.len() - MIN_LEN;
            self.require(is_right, structure, Problem::IndexRootNotSpanned);
        } else {
            self.check_entries(structure, directory, rest);
        }
    }

    /// Checks the entries in a part of a block.
    pub(super) fn check_entries(&mut self, structure: Structure, directory: &mut CheckedDirectory, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            // The checksum of the block has the form of an entry.
            if rest.len() == size_of::<DirEntryTail>() && directory.seed.is_some() && DirEntryTail::of(rest).is_some() {
                return;
            }
            let Some((entry, after)) = self.split_entry(structure, rest, bytes.len()) else {
                return;
            };
            rest = after;
            if entry.ino != 0 {
                self.check_entry(structure, directory, &entry);
            }
        }
    }

    /// Splits the first entry off `bytes`, or reports that its length is invalid.
    fn split_entry<'a>(
        &mut self,
        structure: Structure,
        bytes: &'a [u8],
        block_len: usize,
    ) -> Option<(ParsedEntry<'a>, &'a [u8])> {
        let taken = split_first_entry(bytes, block_len);
        if taken.is_none() {
            self.report(structure, Problem::EntryLengthWrong);
        }
        taken
    }

    /// Returns whether the type in an entry is right for its inode. Zero is an unknown type, which
    /// Hurd writes: e2fsck and the kernel read the type from the inode then.
    fn entry_type_ok(&self, found: u8, file_type: Option<FileType>) -> bool {
        let has_types = self.reader.superblock().has(Features::FILETYPE);
        found == 0 || has_types && file_type.map(FileType::entry_type) == Some(found)
    }

    /// Checks the type in the entry `.` or `..`.
    fn check_dot_type(&mut self, structure: Structure, entry: &ParsedEntry<'_>) {
        let is_right = self.entry_type_ok(entry.file_type, Some(FileType::Directory));
        if !is_right {
            let (name, found) = (entry.name.into(), entry.file_type);
            self.report(structure, Problem::DotTypeWrong { name, found });
        }
    }

    /// Checks an entry in use, and counts the link to its inode.
    fn check_entry(&mut self, structure: Structure, directory: &mut CheckedDirectory, entry: &ParsedEntry<'_>) {
        let cannot_be = entry.name.is_empty()
            || entry.name == b"."
            || entry.name == b".."
            || entry.name.iter().any(|&byte| byte == b'/' || byte == 0);
        let name = || entry.name.into();
        if cannot_be {
            self.report(structure, Problem::NameWrong { name: name() });
        }
        directory.add_name(entry.name);
        let first = self.reader.superblock().first_inode();
        let ino = entry.ino;
        let Some(used) = self.inodes.get_mut(ino).filter(|_| ino >= first) else {
            if !self.is_in_unknown_group(ino) {
                self.report(structure, Problem::EntryInodeUnused { name: name(), ino });
            }
            return;
        };
        used.links_found += 1;
        let used = *used;
        let is_right = self.entry_type_ok(entry.file_type, used.file_type);
        if !is_right {
            let (name, found) = (name(), entry.file_type);
            self.report(structure, Problem::EntryTypeWrong { name, ino, found });
        }
        if used.is_directory() {
            if let Some(other) = self.parents.by_entry.insert(ino, directory.ino.get()) {
                let name = name();
                self.report(structure, Problem::DirectoryLinkedTwice { name, ino, other });
            }
        }
    }
}

/// Entry of a directory.
struct ParsedEntry<'a> {
    ino: u32,
    len: usize,
    name: &'a [u8],
    file_type: u8,
    /// A NUL follows the name. e2fsck requires it for `.` and `..`.
    terminated: bool,
}

/// Splits the first entry off `bytes`, which are part of a block of `block_len` bytes.
fn split_first_entry(bytes: &[u8], block_len: usize) -> Option<(ParsedEntry<'_>, &[u8])> {
    let (entry, room, rest) = DirEntry::split(bytes, block_len)?;
    let name = entry.name(room)?;
    let entry = ParsedEntry {
        ino: entry.inode.get(),
        len: entry.len(block_len),
        name,
        terminated: room.get(name.len()) == Some(&0),
        file_type: entry.file_type,
    };
    Some((entry, rest))
}

impl CheckedDirectory {
    /// Records the hashes of a name.
    fn add_name(&mut self, name: &[u8]) {
        let hash = NameHasher::new(&[0; 16]).hash(name);
        let both = join(hash.minor, hash.major);
        self.fingerprints.push((both, crc32c::crc32c(name)));
        if let Some(hasher) = self.hasher {
            let hash = hasher.hash(name);
            let (smallest, largest) = self.hash_range.unwrap_or((hash.major, hash.major));
            self.hash_range = Some((smallest.min(hash.major), largest.max(hash.major)));
        }
    }
}
