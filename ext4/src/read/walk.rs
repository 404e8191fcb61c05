//! [`Walk`]: all names of an image, one after the other.

use std::collections::BTreeSet;
use std::vec;

use super::lookup::MAX_PATH_LEN;
use super::{DirEntry, Inode, ReadError, Reader};
use crate::read_at::ReadAt;
use crate::units::Ino;

/// All names of an image with their inodes, directories before what is in them, each ordered by the
/// bytes of its names. Made by [`Reader::walk`].
///
/// An error stands for the name or the directory that cannot be read; the walk goes on without it.
#[derive(Debug)]
pub struct Walk<'a, R> {
    reader: &'a Reader<R>,
    /// Path of the directory that is read, from `/` on; that of the root is empty.
    path: Vec<u8>,
    /// Directories from the root down: the length of the path to each, and entries that are left.
    open: Vec<(usize, vec::IntoIter<DirEntry>)>,
    /// A directory that was returned, and is to be read before its siblings.
    next: Option<Inode>,
    begun: bool,
    seen: BTreeSet<Ino>,
}

impl<R: ReadAt> Reader<R> {
    /// Walks through the whole tree, from the root directory `/` on.
    ///
    /// Items are absolute paths and inodes. A directory that is in two places, or in itself, is an
    /// error the second time.
    #[must_use]
    pub fn walk(&self) -> Walk<'_, R> {
        Walk {
            reader: self,
            path: Vec::new(),
            open: Vec::new(),
            next: None,
            begun: false,
            seen: BTreeSet::new(),
        }
    }
}

impl<R: ReadAt> Walk<'_, R> {
    /// Returns an inode, and notes a directory to go into.
    fn found(&mut self, inode: Inode) -> Result<Inode, ReadError> {
        if inode.is_directory() {
            if !self.seen.insert(inode.ino) {
                return Err(inode.damaged("it is a directory in two places"));
            }
            if self.path.len() > MAX_PATH_LEN {
                return Err(inode.damaged("the path to it is too long"));
            }
            self.next = Some(inode.clone());
        }
        Ok(inode)
    }
}

impl<R: ReadAt> Iterator for Walk<'_, R> {
    type Item = Result<(Vec<u8>, Inode), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.begun {
            self.begun = true;
            let root = self.reader.root().and_then(|root| self.found(root));
            return Some(root.map(|root| (b"/".to_vec(), root)));
        }
        if let Some(directory) = self.next.take() {
            match self.reader.read_dir(&directory) {
                Ok(entries) => self.open.push((self.path.len(), entries.into_iter())),
                Err(error) => return Some(Err(error)),
            }
        }
        while let Some((len, entries)) = self.open.last_mut() {
            self.path.truncate(*len);
            let Some(entry) = entries.next() else {
                self.open.pop();
                continue;
            };
            self.path.push(b'/');
            self.path.extend(&entry.name);
            let inode = self.reader.inode(entry.ino).and_then(|inode| self.found(inode));
            return Some(inode.map(|inode| (self.path.clone(), inode)));
        }
        None
    }
}
