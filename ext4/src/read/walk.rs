//! [`Walk`]: iterates over all names of an image.

use std::collections::BTreeSet;
use std::vec;

use super::lookup::MAX_PATH_LEN;
use super::{DirEntry, Inode, ReadError, Reader};
use crate::read_at::ReadAt;
use crate::units::Ino;

/// Iterator over all names of an image with their inodes. A directory comes before its entries,
/// which are ordered by the bytes of their names. Made by [`Reader::walk`].
///
/// If a name or a directory cannot be read, the walk returns an error in its place and continues.
#[derive(Debug)]
pub struct Walk<'a, R> {
    reader: &'a Reader<R>,
    /// Path of the current directory, from `/` on. The path of the root is empty here.
    path: Vec<u8>,
    /// Open directories from the root down: the length of the path, and the remaining entries.
    stack: Vec<(usize, vec::IntoIter<DirEntry>)>,
    /// A directory that was returned, to be read before its siblings.
    pending: Option<Inode>,
    begun: bool,
    seen: BTreeSet<Ino>,
}

impl<R: ReadAt> Reader<R> {
    /// Walks the whole tree, from the root directory on.
    ///
    /// Items are absolute paths and inodes. The second occurrence of a directory, in another
    /// directory or in itself, is an error.
    #[must_use]
    pub fn walk(&self) -> Walk<'_, R> {
        Walk {
            reader: self,
            path: Vec::new(),
            stack: Vec::new(),
            pending: None,
            begun: false,
            seen: BTreeSet::new(),
        }
    }
}

impl<R: ReadAt> Walk<'_, R> {
    /// Returns `inode`. If it is a directory, makes it the next one to read.
    fn note_directory(&mut self, inode: Inode) -> Result<Inode, ReadError> {
        if inode.is_directory() {
            if !self.seen.insert(inode.ino) {
                return Err(inode.damaged("it is a directory with two names"));
            }
            if self.path.len() > MAX_PATH_LEN {
                return Err(inode.damaged("its path is too long"));
            }
            self.pending = Some(inode.clone());
        }
        Ok(inode)
    }
}

impl<R: ReadAt> Iterator for Walk<'_, R> {
    type Item = Result<(Vec<u8>, Inode), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.begun {
            self.begun = true;
            let root = self.reader.root().and_then(|root| self.note_directory(root));
            return Some(root.map(|root| (b"/".to_vec(), root)));
        }
        if let Some(directory) = self.pending.take() {
            match self.reader.read_dir(&directory) {
                Ok(entries) => self.stack.push((self.path.len(), entries.into_iter())),
                Err(error) => return Some(Err(error)),
            }
        }
        while let Some((len, entries)) = self.stack.last_mut() {
            self.path.truncate(*len);
            let Some(entry) = entries.next() else {
                self.stack.pop();
                continue;
            };
            self.path.push(b'/');
            self.path.extend(&entry.name);
            let inode = self
                .reader
                .inode(entry.ino)
                .and_then(|inode| self.note_directory(inode));
            return Some(inode.map(|inode| (self.path.clone(), inode)));
        }
        None
    }
}
