//! Entries of directories (`check_dir_block` of e2fsck).

use super::directories::Directory;
use super::{Check, Problem};
use crate::disk::dir_entry::{DirEntry, DirEntryTail, MIN_LEN};
use crate::disk::features::Features;
use crate::disk::hash::NameHasher;
use crate::file_type::FileType;
use crate::read::Structure;
use crate::read_at::ReadAt;
use crate::units::join;

impl<R: ReadAt> Check<R> {
    /// Checks the first block of a directory: `.` and `..`, and the others, unless the root of an
    /// index lies there.
    pub(super) fn first_entries(
        &mut self,
        structure: Structure,
        directory: &mut Directory,
        bytes: &[u8],
        is_root: bool,
    ) {
        let Some((dot, rest)) = self.entry(structure, bytes, bytes.len()) else {
            return;
        };
        let is_right = dot.name == b"." && dot.is_terminated && dot.ino == directory.ino.get();
        self.expect(is_right, structure, Problem::DotMissing);
        self.dot_type(structure, &dot);
        let Some((dot_dot, rest)) = self.entry(structure, rest, bytes.len()) else {
            return;
        };
        let is_right = dot_dot.name == b".." && dot_dot.is_terminated;
        self.expect(is_right, structure, Problem::DotDotMissing);
        self.dot_type(structure, &dot_dot);
        self.dots(directory.ino, dot_dot.ino, structure);
        if is_root {
            let is_right = dot.len == MIN_LEN && dot_dot.len == bytes.len() - MIN_LEN;
            self.expect(is_right, structure, Problem::IndexRootNotSpanned);
        } else {
            self.entries(structure, directory, rest);
        }
    }

    pub(super) fn entries(&mut self, structure: Structure, directory: &mut Directory, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            // The checksum of the block looks like an entry.
            if rest.len() == size_of::<DirEntryTail>() && directory.seed.is_some() && DirEntryTail::of(rest).is_some() {
                return;
            }
            let Some((entry, after)) = self.entry(structure, rest, bytes.len()) else {
                return;
            };
            rest = after;
            if entry.ino != 0 {
                self.named(structure, directory, &entry);
            }
        }
    }

    /// Takes the first entry off.
    fn entry<'a>(&mut self, structure: Structure, bytes: &'a [u8], block_len: usize) -> Option<(Entry<'a>, &'a [u8])> {
        let taken = take(bytes, block_len);
        if taken.is_none() {
            self.find(structure, Problem::EntryLengthWrong);
        }
        taken
    }

    /// Returns whether the type of an entry is that of its inode. Zero says that it is not known,
    /// as Hurd writes it: then e2fsck and the kernel look at the inode.
    fn is_type(&self, found: u8, file_type: Option<FileType>) -> bool {
        let has_types = self.reader.superblock().has(Features::FILETYPE);
        found == 0 || has_types && file_type.map(FileType::entry_type) == Some(found)
    }

    /// Checks the type of `.` or `..`.
    fn dot_type(&mut self, structure: Structure, entry: &Entry<'_>) {
        let is_right = self.is_type(entry.file_type, Some(FileType::Directory));
        if !is_right {
            let (name, found) = (entry.name.into(), entry.file_type);
            self.find(structure, Problem::DotTypeWrong { name, found });
        }
    }

    fn named(&mut self, structure: Structure, directory: &mut Directory, entry: &Entry<'_>) {
        let cannot_be = entry.name.is_empty()
            || entry.name == b"."
            || entry.name == b".."
            || entry.name.iter().any(|&byte| byte == b'/' || byte == 0);
        let name = || entry.name.into();
        if cannot_be {
            self.find(structure, Problem::NameWrong { name: name() });
        }
        directory.fingerprint(entry.name);
        let first = self.reader.superblock().first_inode();
        let ino = entry.ino;
        let Some(fact) = self.inodes.get_mut(ino).filter(|_| ino >= first) else {
            if !self.is_unknown(ino) {
                self.find(structure, Problem::EntryInodeUnused { name: name(), ino });
            }
            return;
        };
        fact.found += 1;
        let fact = *fact;
        let is_right = self.is_type(entry.file_type, fact.file_type);
        if !is_right {
            let (name, found) = (name(), entry.file_type);
            self.find(structure, Problem::EntryTypeWrong { name, ino, found });
        }
        if fact.is_directory() {
            if let Some(other) = self.names.parents.insert(ino, directory.ino.get()) {
                let name = name();
                self.find(structure, Problem::DirectoryLinkedTwice { name, ino, other });
            }
        }
    }
}

/// An entry of a directory.
struct Entry<'a> {
    ino: u32,
    len: usize,
    name: &'a [u8],
    file_type: u8,
    /// A zero follows the name, as e2fsck wants it of `.` and `..`.
    is_terminated: bool,
}

/// Takes the first entry off a part of a directory, whose blocks have `block_len` bytes.
fn take(bytes: &[u8], block_len: usize) -> Option<(Entry<'_>, &[u8])> {
    let (entry, room, rest) = DirEntry::split(bytes, block_len)?;
    let name = entry.name(room)?;
    let entry = Entry {
        ino: entry.inode.get(),
        len: entry.len(block_len),
        name,
        is_terminated: room.get(name.len()) == Some(&0),
        file_type: entry.file_type,
    };
    Some((entry, rest))
}

impl Directory {
    fn fingerprint(&mut self, name: &[u8]) {
        let hash = NameHasher::new(&[0; 16]).hash(name);
        let both = join(hash.minor, hash.major);
        self.fingerprints.push((both, crc32c::crc32c(name)));
        if let Some(hasher) = self.hasher {
            let hash = hasher.hash(name);
            let (smallest, largest) = self.hashes.unwrap_or((hash.major, hash.major));
            self.hashes = Some((smallest.min(hash.major), largest.max(hash.major)));
        }
    }
}
