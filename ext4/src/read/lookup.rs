//! From a path to an inode, through symlinks that stay inside the image.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use super::{DirEntry, File, Inode, ReadError, Reader};
use crate::file_type::FileType;
use crate::read_at::ReadAt;
use crate::units::Ino;

/// Most symlinks on the way to a file (`MAXSYMLINKS` of Linux).
const MAX_SYMLINKS: usize = 40;
/// Longest path in bytes that symlinks may make of one, or a walk goes down.
pub(super) const MAX_PATH_LEN: usize = 65_520;
/// Most entries of directories that are kept for the next time that the way leads through them.
const MAX_KEPT_ENTRIES: usize = 1 << 20;

/// Treatment of a symlink that is the last name of a path. Those on the way are always followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Follow {
    /// It is followed.
    Yes,
    /// It is what the path leads to.
    No,
}

/// Why a path of an image leads nowhere, or to nothing that serves.
///
/// `path` is the way so far, without symlinks, up to the name that failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum LookupError {
    /// A name is not in its directory.
    NotFound {
        /// The way to the name, and the name.
        path: Vec<u8>,
    },
    /// Something before the last name is not a directory.
    NotADirectory {
        /// The way to it.
        path: Vec<u8>,
    },
    /// A directory where a file is needed.
    IsADirectory {
        /// The way to it.
        path: Vec<u8>,
    },
    /// A device, pipe or socket where a file is needed.
    NotAFile {
        /// The way to it.
        path: Vec<u8>,
    },
    /// More symlinks than Linux follows, or a path that they make too long.
    TooManySymlinks {
        /// The way to the symlink that is one too many.
        path: Vec<u8>,
    },
    /// The file system is damaged or unknown.
    Read(ReadError),
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { .. } => f.write_str("there is no such file or directory"),
            Self::NotADirectory { .. } => f.write_str("something on the way is not a directory"),
            Self::IsADirectory { .. } => f.write_str("it is a directory"),
            Self::NotAFile { .. } => f.write_str("it is not a regular file"),
            Self::TooManySymlinks { .. } => f.write_str("there are too many symlinks on the way"),
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
    /// Follows a path from the root directory, whether or not it begins with `/`.
    ///
    /// As on Linux, a slash at the end asks for a directory, `..` above the root is the root, and
    /// up to 40 symlinks are followed. Absolute ones lead on from the root of the image.
    ///
    /// # Errors
    ///
    /// [`LookupError::NotFound`], [`LookupError::NotADirectory`], [`LookupError::TooManySymlinks`]
    /// and [`LookupError::Read`].
    pub fn lookup(&self, path: &[u8], follow: Follow) -> Result<Inode, LookupError> {
        self.find(path, follow).map(|(_, inode)| inode)
    }

    /// Opens a regular file by its path, as [`Reader::lookup`] follows it.
    ///
    /// # Errors
    ///
    /// As [`Reader::lookup`], [`LookupError::IsADirectory`] and [`LookupError::NotAFile`].
    pub fn open_file(&self, path: &[u8]) -> Result<File<&Self>, LookupError> {
        match self.find(path, Follow::Yes)? {
            (_, inode) if inode.file_type == FileType::RegularFile => Ok(self.open_inode(&inode)?),
            (path, inode) if inode.is_directory() => Err(LookupError::IsADirectory { path }),
            (path, _) => Err(LookupError::NotAFile { path }),
        }
    }

    /// Reads a whole regular file by its path, as [`Reader::lookup`] follows it.
    ///
    /// The image says how much memory that takes: [`Reader::open_file`] instead what need not fit.
    ///
    /// # Errors
    ///
    /// As [`Reader::open_file`]; [`ReadError::Input`] with [`std::io::ErrorKind::OutOfMemory`] if
    /// the content does not fit into memory.
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

    /// Follows a path, and returns the way without symlinks too.
    fn find(&self, path: &[u8], follow: Follow) -> Result<(Vec<u8>, Inode), LookupError> {
        let mut directories = Directories::default();
        // Directories on the way, and the lengths of their paths.
        let mut above: Vec<(usize, Inode)> = Vec::new();
        let mut way = Vec::new();
        let mut found = self.root()?;
        // The rest of the path, the next byte last.
        let mut left: Vec<u8> = path.iter().rev().copied().collect();
        let mut symlinks = 0;
        while !left.is_empty() {
            let name = take_name(&mut left);
            // Something else that is there with more to come: another name, or a slash at the end.
            if !found.is_directory() {
                return Err(LookupError::NotADirectory { path: way });
            }
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    if let Some((len, directory)) = above.pop() {
                        way.truncate(len);
                        found = directory;
                    }
                    continue;
                }
                _ => {}
            }
            let len = way.len();
            way.push(b'/');
            way.extend(&name);
            let Some(ino) = directories.child(self, &found, &name)? else {
                return Err(LookupError::NotFound { path: way });
            };
            let inode = self.inode(ino)?;
            if inode.file_type != FileType::Symlink || (follow == Follow::No && left.is_empty()) {
                above.push((len, std::mem::replace(&mut found, inode)));
                continue;
            }
            symlinks += 1;
            let target = self.read_link(&inode)?;
            if symlinks > MAX_SYMLINKS || target.len() + left.len() > MAX_PATH_LEN {
                return Err(LookupError::TooManySymlinks { path: way });
            }
            way.truncate(len);
            if target.starts_with(b"/") {
                way.clear();
                above.truncate(1);
                found = above.pop().map_or(found, |(_, root)| root);
            }
            if !left.is_empty() {
                left.push(b'/');
            }
            left.extend(target.iter().rev());
        }
        if way.is_empty() {
            way.push(b'/');
        }
        Ok((way, found))
    }
}

/// Takes a name off, and the slash after it; the slash stays if it is the last byte, so that it
/// asks for a directory.
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
    kept: BTreeMap<Ino, Vec<DirEntry>>,
    entry_count: usize,
    /// The last one that is too large to be kept beside the others.
    large: Option<(Ino, Vec<DirEntry>)>,
}

impl Directories {
    fn child<R: ReadAt>(
        &mut self,
        reader: &Reader<R>,
        directory: &Inode,
        name: &[u8],
    ) -> Result<Option<Ino>, ReadError> {
        let ino = directory.ino;
        let large = self.large.as_ref().filter(|(kept, _)| *kept == ino);
        if let Some(entries) = self.kept.get(&ino).or(large.map(|(_, entries)| entries)) {
            return Ok(find(entries, name));
        }
        let entries = reader.read_dir(directory)?;
        let child = find(&entries, name);
        if self.entry_count + entries.len() <= MAX_KEPT_ENTRIES {
            self.entry_count += entries.len();
            self.kept.insert(ino, entries);
        } else {
            self.large = Some((ino, entries));
        }
        Ok(child)
    }
}

fn find(entries: &[DirEntry], name: &[u8]) -> Option<Ino> {
    let index = entries.binary_search_by(|entry| entry.name[..].cmp(name));
    index.ok().map(|index| entries[index].ino)
}
