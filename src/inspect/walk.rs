//! From a path to an inode, through symlinks that stay inside the disk image.

use std::collections::HashMap;
use std::io::{Read, Seek};

use ext4::{FoundEntry, FoundInode, FoundKind, ReadError, Reader};

use layer::failure::{ErrorKind, Failure, Hint, Setting};

/// Most symlinks on the way to a file (`MAXSYMLINKS` of Linux).
const MAX_SYMLINKS: usize = 40;
/// Longest path in bytes, with what symlinks make of it; as the applier of layers has it.
const MAX_PATH_LEN: usize = 65_520;
/// Most entries of directories that are kept for the next time that the way leads through them.
const MAX_KEPT_ENTRIES: usize = 1 << 20;

/// Why a path leads nowhere, or to nothing that serves.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// A name is not in its directory.
    #[error("there is no such file or directory")]
    NotFound,
    /// Something before the last name is no directory.
    #[error("something on the way is not a directory")]
    NotADirectory,
    /// A directory where a file is needed.
    #[error("it is a directory")]
    IsADirectory,
    /// A device, pipe or socket where a file is needed.
    #[error("it is not a regular file")]
    NotAFile,
    /// More symlinks than Linux follows, or a path that they make too long.
    #[error("there are too many symlinks on the way")]
    TooManySymlinks,
    /// The file system is damaged or unknown.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Failure for WalkError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound => ErrorKind::NotFound,
            Self::Read(error) => error.kind(),
            Self::NotADirectory | Self::IsADirectory | Self::NotAFile | Self::TooManySymlinks => ErrorKind::Permanent,
        }
    }

    fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::IsADirectory => Hint::from("name a regular file, or list the directory").with(Setting::List),
            Self::NotFound | Self::NotADirectory => Hint::from("list the directory above it").with(Setting::List),
            Self::NotAFile => Hint::from("name a regular file").about(Setting::List, "; {} says what this is", ""),
            Self::TooManySymlinks => {
                Hint::from("name the file that they lead to").about(Setting::List, "; {} shows where each leads", "")
            }
            Self::Read(error) => return error.hint(),
        })
    }
}

/// What a path leads to.
pub(super) struct Found {
    /// The last name; `/` for the root.
    pub(super) name: Vec<u8>,
    pub(super) inode: FoundInode,
}

/// Follows a path from the root; the last name too, if it is a symlink and `follow` says so.
///
/// As on Linux, a slash at the end asks for a directory, and `..` above the root is the root.
pub(super) fn walk<R: Read + Seek>(reader: &mut Reader<R>, path: &[u8], follow: bool) -> Result<Found, WalkError> {
    let mut directories = Directories::default();
    let mut above = Vec::new();
    let mut found = root(reader)?;
    // What is left of the path, the next byte last.
    let mut left: Vec<u8> = path.iter().rev().copied().collect();
    let mut symlinks = 0;
    while !left.is_empty() {
        let name = take_name(&mut left);
        // A symlink that is there without having been followed is the last name, and only a slash came after it.
        if found.inode.kind != FoundKind::Directory {
            return Err(WalkError::NotADirectory);
        }
        match &name[..] {
            b"" | b"." => continue,
            b".." => {
                found = above.pop().map_or_else(|| root(reader), Ok)?;
                continue;
            }
            _ => {}
        }
        let inode = directories.child(reader, &found.inode, &name)?;
        if inode.kind == FoundKind::Symlink && (follow || !left.is_empty()) {
            symlinks += 1;
            let target = reader.target(&inode)?;
            if symlinks > MAX_SYMLINKS || target.len() + left.len() > MAX_PATH_LEN {
                return Err(WalkError::TooManySymlinks);
            }
            if target.starts_with(b"/") {
                above.clear();
                found = root(reader)?;
            }
            if !left.is_empty() {
                left.push(b'/');
            }
            left.extend(target.iter().rev());
        } else {
            above.push(std::mem::replace(&mut found, Found { name, inode }));
        }
    }
    Ok(found)
}

fn root<R: Read + Seek>(reader: &mut Reader<R>) -> Result<Found, WalkError> {
    let inode = reader.root()?;
    let name = b"/".to_vec();
    Ok(Found { name, inode })
}

/// Takes a name off, and the slash after it; the slash stays if it is the last byte, so that it asks for a directory.
fn take_name(left: &mut Vec<u8>) -> Vec<u8> {
    let mut name = Vec::new();
    while let Some(byte) = left.pop() {
        if byte != b'/' {
            name.push(byte);
            continue;
        }
        if left.is_empty() && !name.is_empty() {
            left.push(byte);
        }
        break;
    }
    name
}

/// Directories on the way by number: symlinks can lead through one ten thousand times.
#[derive(Default)]
struct Directories {
    kept: HashMap<u32, Vec<FoundEntry>>,
    entry_count: usize,
    /// The last one that is too large to be kept beside the others.
    large: Option<(u32, Vec<FoundEntry>)>,
}

impl Directories {
    fn child<R: Read + Seek>(
        &mut self,
        reader: &mut Reader<R>,
        directory: &FoundInode,
        name: &[u8],
    ) -> Result<FoundInode, WalkError> {
        let number = directory.ino.get();
        let large = self.large.as_ref().filter(|(kept, _)| *kept == number);
        if let Some(entries) = self.kept.get(&number).or(large.map(|(_, entries)| entries)) {
            return find(reader, entries, name);
        }
        let entries = reader.entries(directory)?;
        let inode = find(reader, &entries, name);
        if self.entry_count + entries.len() <= MAX_KEPT_ENTRIES {
            self.entry_count += entries.len();
            self.kept.insert(number, entries);
        } else {
            self.large = Some((number, entries));
        }
        inode
    }
}

fn find<R: Read + Seek>(reader: &mut Reader<R>, entries: &[FoundEntry], name: &[u8]) -> Result<FoundInode, WalkError> {
    let index = entries.binary_search_by(|entry| entry.name[..].cmp(name));
    let entry = &entries[index.map_err(|_| WalkError::NotFound)?];
    Ok(reader.inode(entry.ino)?)
}
