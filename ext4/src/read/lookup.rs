//! Resolves paths to inodes, and follows symlinks inside the image.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use super::{DirEntry, File, Inode, ReadError, Reader};
use crate::file_type::FileType;
use crate::read_at::ReadAt;
use crate::units::Ino;

/// Maximum number of symlinks that a lookup follows (`MAXSYMLINKS` of Linux).
const MAX_SYMLINKS: usize = 40;
/// Maximum length in bytes of a path after symlinks in it are expanded, and of a path that a walk
/// reaches.
pub(super) const MAX_PATH_LEN: usize = 65_520;
/// Maximum number of directory entries to cache during a lookup.
const MAX_CACHED_ENTRIES: usize = 1 << 20;

/// Treatment of a symlink as the last component of a path. A lookup always follows symlinks before
/// the last component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Follow {
    /// Follow the symlink.
    Yes,
    /// Return the symlink itself.
    No,
}

/// Reason why a path cannot be resolved, or leads to a file of the wrong type.
///
/// `path` is the resolved path, without symlinks, up to and including the name that failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum LookupError {
    /// A name does not exist in its directory.
    NotFound {
        /// Path of the name.
        path: Vec<u8>,
    },
    /// A component before the last, or before a slash at the end, is not a directory.
    NotADirectory {
        /// Path of the file that is not a directory.
        path: Vec<u8>,
    },
    /// A directory was found instead of a regular file.
    IsADirectory {
        /// Path of the directory.
        path: Vec<u8>,
    },
    /// A device, FIFO or socket was found instead of a regular file.
    NotAFile {
        /// Path of the file.
        path: Vec<u8>,
    },
    /// The path leads through too many symlinks, or they expand it too much.
    TooManySymlinks {
        /// Path of the first symlink over the limit.
        path: Vec<u8>,
    },
    /// The image cannot be read.
    Read(ReadError),
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { .. } => f.write_str("no such file or directory"),
            Self::NotADirectory { .. } => f.write_str("a component of the path is not a directory"),
            Self::IsADirectory { .. } => f.write_str("it is a directory"),
            Self::NotAFile { .. } => f.write_str("it is not a regular file"),
            Self::TooManySymlinks { .. } => f.write_str("too many symlinks in the path"),
            Self::Read(error) => error.fmt(f),
        }
    }
}

impl Error for LookupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read(error) => error.source(),
            _ => None,
        }
    }
}

impl From<ReadError> for LookupError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl<R: ReadAt> Reader<R> {
    /// Returns the inode that a path leads to. The path starts at the root directory, with or
    /// without a leading `/`.
    ///
    /// As on Linux, a trailing slash requires a directory, `..` in the root is the root, and up to
    /// 40 symlinks are followed. Absolute symlinks start at the root of the image.
    ///
    /// # Errors
    ///
    /// [`LookupError::NotFound`], [`LookupError::NotADirectory`], [`LookupError::TooManySymlinks`]
    /// and [`LookupError::Read`].
    pub fn lookup(&self, path: &[u8], follow: Follow) -> Result<Inode, LookupError> {
        self.resolve(path, follow).map(|(_, inode)| inode)
    }

    /// Opens a regular file by its path, which is resolved as by [`Reader::lookup`].
    ///
    /// # Errors
    ///
    /// As [`Reader::lookup`], [`LookupError::IsADirectory`] and [`LookupError::NotAFile`].
    pub fn open_file(&self, path: &[u8]) -> Result<File<&Self>, LookupError> {
        match self.resolve(path, Follow::Yes)? {
            (_, inode) if inode.file_type == FileType::RegularFile => Ok(self.open_inode(&inode)?),
            (path, inode) if inode.is_directory() => Err(LookupError::IsADirectory { path }),
            (path, _) => Err(LookupError::NotAFile { path }),
        }
    }

    /// Returns the content of a regular file by its path, which is resolved as by
    /// [`Reader::lookup`].
    ///
    /// The size in the image determines how much memory this takes. Use [`Reader::open_file`] for
    /// files that may not fit in memory.
    ///
    /// # Errors
    ///
    /// As [`Reader::open_file`]; [`ReadError::Input`] with [`std::io::ErrorKind::OutOfMemory`] if
    /// the content does not fit in memory.
    pub fn read(&self, path: &[u8]) -> Result<Vec<u8>, LookupError> {
        let file = self.open_file(path)?;
        let mut bytes = Vec::new();
        let len = usize::try_from(file.inode().size).unwrap_or(usize::MAX);
        bytes.try_reserve_exact(len).map_err(|_| ReadError::Input {
            offset: 0,
            source: std::io::ErrorKind::OutOfMemory.into(),
        })?;
        bytes.resize(len, 0);
        file.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Resolves a path. Returns the path without symlinks, and the inode.
    fn resolve(&self, path: &[u8], follow: Follow) -> Result<(Vec<u8>, Inode), LookupError> {
        let mut cache = DirectoryCache::default();
        // Ancestors of `current`, with the lengths of their paths.
        let mut parents: Vec<(usize, Inode)> = Vec::new();
        let mut resolved = Vec::new();
        let mut current = self.root()?;
        // Unresolved part of the path, reversed.
        let mut rest: Vec<u8> = path.iter().rev().copied().collect();
        let mut symlinks = 0;
        while !rest.is_empty() {
            let name = take_name(&mut rest);
            // A name or a trailing slash follows something that is not a directory.
            if !current.is_directory() {
                return Err(LookupError::NotADirectory { path: resolved });
            }
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    if let Some((len, directory)) = parents.pop() {
                        resolved.truncate(len);
                        current = directory;
                    }
                    continue;
                }
                _ => {}
            }
            let len = resolved.len();
            resolved.push(b'/');
            resolved.extend(&name);
            let Some(ino) = cache.lookup(self, &current, &name)? else {
                return Err(LookupError::NotFound { path: resolved });
            };
            let inode = self.inode(ino)?;
            if inode.file_type != FileType::Symlink || (follow == Follow::No && rest.is_empty()) {
                parents.push((len, std::mem::replace(&mut current, inode)));
                continue;
            }
            symlinks += 1;
            let target = self.read_link(&inode)?;
            if symlinks > MAX_SYMLINKS || target.len() + rest.len() > MAX_PATH_LEN {
                return Err(LookupError::TooManySymlinks { path: resolved });
            }
            resolved.truncate(len);
            if target.starts_with(b"/") {
                resolved.clear();
                parents.truncate(1);
                current = parents.pop().map_or(current, |(_, root)| root);
            }
            if !rest.is_empty() {
                rest.push(b'/');
            }
            rest.extend(target.iter().rev());
        }
        if resolved.is_empty() {
            resolved.push(b'/');
        }
        Ok((resolved, current))
    }
}

/// Removes the first name from `rest`, with the slash after it. A trailing slash stays, because it
/// requires a directory.
fn take_name(rest: &mut Vec<u8>) -> Vec<u8> {
    let mut name = Vec::new();
    while let Some(byte) = rest.pop() {
        if byte != b'/' {
            name.push(byte);
            continue;
        }
        if rest.is_empty() && !name.is_empty() {
            rest.push(byte);
        }
        break;
    }
    name
}

/// Directories that a lookup has read. Symlinks can lead through one directory ten thousand times.
#[derive(Default)]
struct DirectoryCache {
    small: BTreeMap<Ino, Vec<DirEntry>>,
    entry_count: usize,
    /// The last directory that did not fit in `small`.
    large: Option<(Ino, Vec<DirEntry>)>,
}

impl DirectoryCache {
    /// Returns the inode of a name in a directory.
    fn lookup<R: ReadAt>(
        &mut self,
        reader: &Reader<R>,
        directory: &Inode,
        name: &[u8],
    ) -> Result<Option<Ino>, ReadError> {
        let ino = directory.ino;
        let large = self.large.as_ref().filter(|(large, _)| *large == ino);
        if let Some(entries) = self.small.get(&ino).or(large.map(|(_, entries)| entries)) {
            return Ok(find_entry(entries, name));
        }
        let entries = reader.read_dir(directory)?;
        let child = find_entry(&entries, name);
        if self.entry_count + entries.len() <= MAX_CACHED_ENTRIES {
            self.entry_count += entries.len();
            self.small.insert(ino, entries);
        } else {
            self.large = Some((ino, entries));
        }
        Ok(child)
    }
}

fn find_entry(entries: &[DirEntry], name: &[u8]) -> Option<Ino> {
    let index = entries.binary_search_by(|entry| entry.name[..].cmp(name));
    index.ok().map(|index| entries[index].ino)
}
