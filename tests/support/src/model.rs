//! A tree beside the crate's own: what a reader of the image must find.

use std::collections::{BTreeMap, BTreeSet};

use ext4::{
    Device, Directory, FormatError, Formatter, InodeId, Kind, MAX_LINKS, Metadata, Options, Output, Summary, Timestamp,
    Tree,
};

use super::content::Content;

/// What an inode is.
#[derive(Clone, Debug)]
pub enum Node {
    Directory,
    File(Content),
    Symlink(Vec<u8>),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
    Socket,
}

/// All that a reader can say of a name besides the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Kind of file and permissions, as `st_mode` has them.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u64,
    /// Size in bytes; `None` for a directory.
    pub size: Option<u64>,
    /// Seconds and nanoseconds.
    pub accessed: (i64, u32),
    pub modified: (i64, u32),
    pub changed: (i64, u32),
    /// Major and minor number.
    pub device: Option<(u32, u32)>,
    /// Target of a symlink.
    pub target: Option<Vec<u8>>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Number of an inode of a model, in the order of creation.
pub type Id = usize;

/// Inodes, and the paths that lead to them; the root's path is empty.
#[derive(Debug)]
pub struct Model {
    pub paths: BTreeMap<Vec<u8>, Id>,
    inodes: BTreeMap<Id, (Metadata, Node)>,
}

impl Model {
    pub fn node(&self, id: Id) -> &Node {
        &self.inodes[&id].1
    }

    pub fn node_at(&self, path: &[u8]) -> &Node {
        self.node(self.paths[path])
    }

    /// Bytes of the names and values of an inode's extended attributes.
    pub fn xattrs_len(&self, id: Id) -> usize {
        let xattrs = &self.inodes[&id].0.xattrs;
        xattrs.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    pub fn inode_count(&self) -> usize {
        self.inodes.len()
    }

    /// What a reader must find at each path.
    pub fn entries(&self) -> BTreeMap<&[u8], (Id, Entry)> {
        let mut names = BTreeMap::<Id, u64>::new();
        let mut subdirectories = BTreeMap::<&[u8], u64>::new();
        for (path, id) in &self.paths {
            *names.entry(*id).or_default() += 1;
            if !path.is_empty() && matches!(self.node(*id), Node::Directory) {
                *subdirectories.entry(parent(path).0).or_default() += 1;
            }
        }
        let entry = |path: &[u8], id: Id| {
            let links = match self.node(id) {
                Node::Directory => match 2 + subdirectories.get(path).copied().unwrap_or(0) {
                    links if links > u64::from(MAX_LINKS) => 1,
                    links => links,
                },
                _ => names[&id],
            };
            self.entry(id, links)
        };
        self.paths
            .iter()
            .map(|(path, &id)| (&path[..], (id, entry(path, id))))
            .collect()
    }

    fn entry(&self, id: Id, links: u64) -> Entry {
        let (metadata, node) = &self.inodes[&id];
        let (kind, size) = match node {
            Node::Directory => (0o040_000, None),
            Node::File(content) => (0o100_000, Some(content.len)),
            Node::Symlink(target) => (0o120_000, Some(target.len() as u64)),
            Node::CharDevice(..) => (0o020_000, Some(0)),
            Node::BlockDevice(..) => (0o060_000, Some(0)),
            Node::Fifo => (0o010_000, Some(0)),
            Node::Socket => (0o140_000, Some(0)),
        };
        let time = |time: Timestamp| (time.seconds(), time.nanoseconds());
        Entry {
            mode: kind | u32::from(metadata.mode),
            uid: metadata.uid,
            gid: metadata.gid,
            links,
            size,
            accessed: time(metadata.accessed),
            modified: time(metadata.modified),
            changed: time(metadata.changed),
            device: match node {
                &(Node::CharDevice(major, minor) | Node::BlockDevice(major, minor)) => Some((major, minor)),
                _ => None,
            },
            target: match node {
                Node::Symlink(target) => Some(target.clone()),
                _ => None,
            },
            xattrs: metadata
                .xattrs
                .iter()
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect(),
        }
    }
}

/// An image in the making, and the model of it.
pub struct Build<O> {
    pub formatter: Formatter<O>,
    pub tree: Tree,
    pub model: Model,
    /// The tree's inodes, by the model's numbers.
    ids: Vec<InodeId>,
}

impl<O: Output> Build<O> {
    pub fn new(output: O, options: Options) -> Result<Self, FormatError> {
        Self::with_root(output, options, permissions(0o755))
    }

    pub fn with_root(output: O, options: Options, root: Metadata) -> Result<Self, FormatError> {
        Ok(Self {
            formatter: Formatter::new(output, options)?,
            tree: Tree::new(root.clone()),
            model: Model {
                paths: BTreeMap::from([(Vec::new(), 0)]),
                inodes: BTreeMap::from([(0, (root, Node::Directory))]),
            },
            ids: vec![InodeId::ROOT],
        })
    }

    /// Puts a new inode at a path.
    pub fn put(&mut self, path: impl AsRef<[u8]>, metadata: Metadata, node: Node) -> Result<(), FormatError> {
        let kind = match &node {
            Node::Directory => Kind::Directory(Directory::new()),
            Node::File(content) if content.has_holes() => Kind::File(self.formatter.write_sparse(
                content.reader(),
                content.len,
                &content.ranges,
            )?),
            Node::File(content) => Kind::File(self.formatter.write_data(content.reader(), content.len)?),
            Node::Symlink(target) => Kind::Symlink(target[..].into()),
            &Node::CharDevice(major, minor) => Kind::CharDevice(Device { major, minor }),
            &Node::BlockDevice(major, minor) => Kind::BlockDevice(Device { major, minor }),
            Node::Fifo => Kind::Fifo,
            Node::Socket => Kind::Socket,
        };
        let (directory, name) = parent(path.as_ref());
        let id = self
            .tree
            .insert(self.id_of(directory), name, metadata.clone(), kind)
            .expect("the test puts what a tree takes");
        self.model.paths.insert(path.as_ref().to_vec(), self.ids.len());
        self.model.inodes.insert(self.ids.len(), (metadata, node));
        self.ids.push(id);
        Ok(())
    }

    pub fn directory(&mut self, path: impl AsRef<[u8]>) {
        self.put(path, permissions(0o755), Node::Directory).unwrap();
    }

    pub fn file(&mut self, path: impl AsRef<[u8]>, content: Content) {
        self.put(path, permissions(0o644), Node::File(content)).unwrap();
    }

    /// Gives an inode one more path.
    pub fn link(&mut self, path: impl AsRef<[u8]>, existing: impl AsRef<[u8]>) {
        let (directory, name) = parent(path.as_ref());
        self.tree
            .link(self.id_of(directory), name, self.id_of(existing.as_ref()))
            .expect("the test links what a tree lets it");
        let id = self.model.paths[existing.as_ref()];
        self.model.paths.insert(path.as_ref().to_vec(), id);
    }

    /// Gives the inode at a path other metadata.
    pub fn describe(&mut self, path: impl AsRef<[u8]>, metadata: Metadata) {
        let path = path.as_ref();
        let id = self.id_of(path);
        *self.tree.metadata_mut(id) = metadata.clone();
        let known = self.model.inodes.get_mut(&self.model.paths[path]);
        known.expect("each path has an inode").0 = metadata;
    }

    /// Takes a path away, with all below it, and gives back what nothing leads to any more.
    pub fn remove(&mut self, path: impl AsRef<[u8]>) {
        let path = path.as_ref();
        let (directory, name) = parent(path);
        for data in self
            .tree
            .remove(self.id_of(directory), name)
            .expect("the path is in the tree")
        {
            self.formatter.free(data);
        }
        let is_below = |other: &[u8]| other.strip_prefix(path).is_some_and(|rest| rest.first() == Some(&b'/'));
        self.model.paths.retain(|other, _| other != path && !is_below(other));
        let named: BTreeSet<Id> = self.model.paths.values().copied().collect();
        self.model.inodes.retain(|id, _| named.contains(id));
    }

    /// Makes the image; the model then has the `lost+found` that every image has.
    pub fn finish(mut self) -> Result<(O, Summary, Model), FormatError> {
        let (output, summary) = self.formatter.finish(self.tree)?;
        if !self.model.paths.contains_key(&b"lost+found"[..]) {
            let id = self.ids.len();
            self.model.paths.insert(b"lost+found".to_vec(), id);
            self.model.inodes.insert(id, (permissions(0o700), Node::Directory));
        }
        Ok((output, summary, self.model))
    }

    /// The tree's inode at a path.
    pub fn id_of(&self, path: &[u8]) -> InodeId {
        self.ids[self.model.paths[path]]
    }
}

/// The path of the directory, and the name.
pub fn parent(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Metadata with a mode and nothing else.
pub fn permissions(mode: u16) -> Metadata {
    Metadata {
        mode,
        ..Metadata::default()
    }
}
