//! Which inode of one image is which of another with the same tree.

use std::collections::BTreeMap;
use std::fs::File;
use std::rc::Rc;

use ext4::read::Inode;
use ext4::{FileType, Ino, Reader};

use super::error::Mke2fsError;

pub(super) type Image<'a> = Reader<&'a File>;

/// What belongs together.
pub(super) struct Pairing {
    /// By number in the native image.
    pub(super) inodes: BTreeMap<Ino, Paired>,
    /// Names that the other image does not have, by path.
    pub(super) missing: Vec<Missing>,
}

/// An inode of the other image.
#[derive(Clone)]
pub(super) struct Paired {
    pub(super) ino: Ino,
    /// The first path, below the root.
    pub(super) path: Rc<[u8]>,
}

/// A name of the native image alone.
pub(super) struct Missing {
    /// Its directory in the other image.
    pub(super) directory: Ino,
    pub(super) name: Box<[u8]>,
    pub(super) path: Rc<[u8]>,
    /// What it leads to, in the native image.
    pub(super) native: Inode,
}

/// Walks through both. Names that only the native image has are no difference yet, all others are, and so are names of different
/// kinds of files, and hard links between different names.
pub(super) fn pair(native: &Image<'_>, made: &Image<'_>) -> Result<Pairing, Mke2fsError> {
    let mut pairing = Pairing {
        inodes: BTreeMap::new(),
        missing: Vec::new(),
    };
    let (native_root, made_root) = (native.root()?, made.root()?);
    let path: Rc<[u8]> = Rc::from(&b""[..]);
    pairing.add(&path, &native_root, &made_root)?;
    let mut pending = vec![(path, native_root, made_root)];
    while let Some((path, native_directory, made_directory)) = pending.pop() {
        let mut found = made.read_dir(&made_directory)?.into_iter().peekable();
        let mut subdirectories = Vec::new();
        for entry in native.read_dir(&native_directory)? {
            let path: Rc<[u8]> = join(&path, &entry.name).into();
            let native_inode = native.inode(entry.ino)?;
            match found.peek() {
                Some(other) if other.name < entry.name => {
                    return Err(surplus(&path, &entry.name, &other.name));
                }
                Some(other) if other.name == entry.name => {
                    let made_inode = made.inode(other.ino)?;
                    pairing.add(&path, &native_inode, &made_inode)?;
                    if native_inode.file_type == FileType::Directory {
                        subdirectories.push((path, native_inode, made_inode));
                    }
                    found.next();
                }
                _ => pairing.missing.push(Missing {
                    directory: made_directory.ino,
                    name: entry.name,
                    path,
                    native: native_inode,
                }),
            }
        }
        if let Some(other) = found.next() {
            return Err(Mke2fsError::different(
                &join(&path, &other.name),
                "the image has no such name",
            ));
        }
        subdirectories.reverse();
        pending.extend(subdirectories);
    }
    Ok(pairing)
}

impl Pairing {
    fn add(&mut self, path: &Rc<[u8]>, native: &Inode, made: &Inode) -> Result<(), Mke2fsError> {
        // Devices have their numbers when all is done.
        if native.file_type != made.file_type {
            return Err(Mke2fsError::different(path, "it is of another kind"));
        }
        let paired = || Paired {
            ino: made.ino,
            path: Rc::clone(path),
        };
        if self.inodes.entry(native.ino).or_insert_with(paired).ino != made.ino {
            return Err(Mke2fsError::different(path, "it is no hard link there"));
        }
        Ok(())
    }
}

fn surplus(path: &[u8], expected: &[u8], found: &[u8]) -> Mke2fsError {
    let directory = &path[..path.len() - expected.len()];
    Mke2fsError::different(&[directory, found].concat(), "the image has no such name")
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"" => name.to_vec(),
        directory => [directory, b"/", name].concat(),
    }
}
