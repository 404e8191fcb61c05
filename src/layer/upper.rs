//! What a layer wrote itself, which its own whiteouts must not touch.

use std::collections::{HashMap, HashSet};

use ext4::{InodeId, Tree};

/// The names and directories that the layer being applied wrote.
///
/// Inodes get ever greater identifiers, so all that the layer made is known by the first of them. Only directories of lower
/// layers that it wrote into, and names that it gave to inodes of lower layers, are recorded one by one.
#[derive(Default)]
pub(super) struct Upper {
    first: Option<InodeId>,
    /// Directories of lower layers in which, at any depth, the layer wrote something, and those it has an entry for.
    written: HashSet<InodeId>,
    /// Directories of lower layers that it has an entry for.
    described: HashSet<InodeId>,
    /// Directories without anything of lower layers left in them.
    cleared: HashSet<InodeId>,
    /// Hard links to inodes of lower layers.
    links: HashMap<InodeId, HashSet<Box<[u8]>>>,
}

impl Upper {
    /// Records a new inode.
    pub(super) fn made(&mut self, tree: &Tree, directory: InodeId, id: InodeId) {
        self.first.get_or_insert(id);
        self.wrote_into(tree, directory);
    }

    /// Records a new name of an inode.
    pub(super) fn linked(&mut self, tree: &Tree, directory: InodeId, name: &[u8], id: InodeId) {
        if !self.is_made(id) {
            self.links.entry(directory).or_default().insert(name.into());
        }
        self.wrote_into(tree, directory);
    }

    /// Records an entry for a directory that exists already.
    pub(super) fn described(&mut self, tree: &Tree, directory: InodeId) {
        if !self.is_made(directory) {
            self.described.insert(directory);
            self.wrote_into(tree, directory);
        }
    }

    /// Records that nothing of lower layers is left in a directory, and says whether that is news.
    pub(super) fn cleared(&mut self, directory: InodeId) -> bool {
        !self.is_made(directory) && self.cleared.insert(directory)
    }

    /// Whether the layer wrote this entry of a directory, with all that is below.
    pub(super) fn is_own(&self, directory: InodeId, name: &[u8], id: InodeId) -> bool {
        self.is_made(id) || self.links.get(&directory).is_some_and(|names| names.contains(name))
    }

    /// Whether the layer has an entry for a directory of a lower layer, or for something below it.
    pub(super) fn is_written(&self, directory: InodeId) -> bool {
        self.written.contains(&directory)
    }

    /// Whether the layer has an entry for a directory of a lower layer.
    pub(super) fn is_described(&self, directory: InodeId) -> bool {
        self.described.contains(&directory)
    }

    fn is_made(&self, id: InodeId) -> bool {
        self.first.is_some_and(|first| id >= first)
    }

    fn wrote_into(&mut self, tree: &Tree, directory: InodeId) {
        let mut id = directory;
        while !self.is_made(id) && self.written.insert(id) {
            id = tree
                .inode(id)
                .directory()
                .map_or(InodeId::ROOT, ext4::Directory::parent);
        }
    }
}
