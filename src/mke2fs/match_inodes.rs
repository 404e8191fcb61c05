//! Matches the inodes of two images with the same tree, by path.

use std::collections::BTreeMap;
use std::fs::File;
use std::rc::Rc;

use ext4::read::Inode;
use ext4::{FileType, Ino, Reader};

use super::error::Mke2fsError;

pub(super) type ImageReader<'a> = Reader<&'a File>;

/// Difference for a name that only the image made by mke2fs has.
const UNEXPECTED: &str = "it is not in the native image";

/// Inodes of the native image, each with its counterpart in the image that mke2fs made.
pub(super) struct InodeMatches {
    /// Counterparts, by inode number in the native image.
    pub(super) inodes: BTreeMap<Ino, MatchedInode>,
    /// Names of the native image that the other image lacks, in the order of the walk.
    pub(super) missing: Vec<MissingName>,
}

/// An inode of the image that mke2fs made.
#[derive(Clone)]
pub(super) struct MatchedInode {
    pub(super) ino: Ino,
    /// The first path that leads to it, without a leading slash.
    pub(super) path: Rc<[u8]>,
}

/// A name that only the native image has.
pub(super) struct MissingName {
    /// Directory that lacks the name, in the image that mke2fs made.
    pub(super) directory: Ino,
    pub(super) name: Box<[u8]>,
    pub(super) path: Rc<[u8]>,
    /// Inode of the name in the native image.
    pub(super) native: Inode,
}

/// Walks both trees and matches their inodes.
///
/// Names that only the native image has are collected in [`InodeMatches::missing`].
///
/// # Errors
///
/// [`Mke2fsError::Different`] for a name that only the other image has, a name with another file
/// type there, and hard links between other names.
pub(super) fn match_inodes(native: &ImageReader<'_>, made: &ImageReader<'_>) -> Result<InodeMatches, Mke2fsError> {
    let mut matches = InodeMatches {
        inodes: BTreeMap::new(),
        missing: Vec::new(),
    };
    let (native_root, made_root) = (native.root()?, made.root()?);
    let path: Rc<[u8]> = Rc::from(&b""[..]);
    matches.add(&path, &native_root, &made_root)?;
    let mut pending = vec![(path, native_root, made_root)];
    while let Some((path, native_directory, made_directory)) = pending.pop() {
        let mut found = made.read_dir(&made_directory)?.into_iter().peekable();
        let mut subdirectories = Vec::new();
        for entry in native.read_dir(&native_directory)? {
            let path: Rc<[u8]> = join(&path, &entry.name).into();
            let native_inode = native.inode(entry.ino)?;
            match found.peek() {
                Some(other) if other.name < entry.name => {
                    return Err(unexpected_name(&path, &entry.name, &other.name));
                }
                Some(other) if other.name == entry.name => {
                    let made_inode = made.inode(other.ino)?;
                    matches.add(&path, &native_inode, &made_inode)?;
                    if native_inode.file_type == FileType::Directory {
                        subdirectories.push((path, native_inode, made_inode));
                    }
                    found.next();
                }
                _ => matches.missing.push(MissingName {
                    directory: made_directory.ino,
                    name: entry.name,
                    path,
                    native: native_inode,
                }),
            }
        }
        if let Some(other) = found.next() {
            return Err(Mke2fsError::different(&join(&path, &other.name), UNEXPECTED));
        }
        subdirectories.reverse();
        pending.extend(subdirectories);
    }
    Ok(matches)
}

impl InodeMatches {
    fn add(&mut self, path: &Rc<[u8]>, native: &Inode, made: &Inode) -> Result<(), Mke2fsError> {
        // Device numbers are compared at the end: debugfs sets them later.
        if native.file_type != made.file_type {
            return Err(Mke2fsError::different(path, "its file type"));
        }
        let matched = || MatchedInode {
            ino: made.ino,
            path: Rc::clone(path),
        };
        if self.inodes.entry(native.ino).or_insert_with(matched).ino != made.ino {
            return Err(Mke2fsError::different(path, "it is not the same hard link"));
        }
        Ok(())
    }
}

/// Returns the error for a name `found` that comes where `path`, with the name `expected`, belongs.
fn unexpected_name(path: &[u8], expected: &[u8], found: &[u8]) -> Mke2fsError {
    let directory = &path[..path.len() - expected.len()];
    Mke2fsError::different(&[directory, found].concat(), UNEXPECTED)
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"" => name.to_vec(),
        directory => [directory, b"/", name].concat(),
    }
}
