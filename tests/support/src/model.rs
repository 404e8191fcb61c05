//! A model of a tree, kept beside [`ext4::Tree`]: what a reader of the image must find.

use std::collections::{BTreeMap, BTreeSet};

use ext4::{
    Device, Directory, FormatError, Formatter, InodeId, Kind, MAX_LINKS, Metadata, Options, Output, Summary, Timestamp,
    Tree,
};

use super::content::Content;

/// The file type of an inode, with what belongs to the type.
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

/// Metadata of an inode, as stat(2), readlink(2) and listxattr(2) show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// File type and permissions, as in `st_mode`.
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

/// Number of an inode in a model, in the order of creation.
pub type NodeId = usize;

/// Inodes, and all paths that lead to them. The root's path is empty.
#[derive(Debug)]
pub struct Model {
    pub paths: BTreeMap<Vec<u8>, NodeId>,
    inodes: BTreeMap<NodeId, (Metadata, Node)>,
}

impl Model {
    pub fn node(&self, id: NodeId) -> &Node {
        &self.inodes[&id].1
    }

    pub fn node_at(&self, path: &[u8]) -> &Node {
        self.node(self.paths[path])
    }

    /// Returns the bytes of the names and values of an inode's extended attributes.
    pub fn xattrs_len(&self, id: NodeId) -> usize {
        let xattrs = &self.inodes[&id].0.xattrs;
        xattrs.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    pub fn inode_count(&self) -> usize {
        self.inodes.len()
    }

    /// Returns the inode and the metadata that a reader must find at each path.
    pub fn stats(&self) -> BTreeMap<&[u8], (NodeId, Stat)> {
        let mut names = BTreeMap::<NodeId, u64>::new();
        let mut subdirectories = BTreeMap::<&[u8], u64>::new();
        for (path, id) in &self.paths {
            *names.entry(*id).or_default() += 1;
            if !path.is_empty() && matches!(self.node(*id), Node::Directory) {
                *subdirectories.entry(split_path(path).0).or_default() += 1;
            }
        }
        let entry = |path: &[u8], id: NodeId| {
            let links = match self.node(id) {
                Node::Directory => match 2 + subdirectories.get(path).copied().unwrap_or(0) {
                    links if links > u64::from(MAX_LINKS) => 1,
                    links => links,
                },
                _ => names[&id],
            };
            self.stat(id, links)
        };
        self.paths
            .iter()
            .map(|(path, &id)| (&path[..], (id, entry(path, id))))
            .collect()
    }

    fn stat(&self, id: NodeId, links: u64) -> Stat {
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
        Stat {
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

/// Builds an image, and the model of its tree beside it.
pub struct Build<O> {
    pub formatter: Formatter<O>,
    pub tree: Tree,
    pub model: Model,
    /// The tree's inodes, indexed by [`NodeId`].
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

    /// Adds a new inode at a path.
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
        let (directory, name) = split_path(path.as_ref());
        let id = self
            .tree
            .insert(self.inode_id(directory), name, metadata.clone(), kind)
            .expect("the tree accepts the entry");
        self.model.paths.insert(path.as_ref().to_vec(), self.ids.len());
        self.model.inodes.insert(self.ids.len(), (metadata, node));
        self.ids.push(id);
        Ok(())
    }

    pub fn add_directory(&mut self, path: impl AsRef<[u8]>) {
        self.put(path, permissions(0o755), Node::Directory).unwrap();
    }

    pub fn add_file(&mut self, path: impl AsRef<[u8]>, content: Content) {
        self.put(path, permissions(0o644), Node::File(content)).unwrap();
    }

    /// Adds a hard link at `path` to the inode at `existing`.
    pub fn link(&mut self, path: impl AsRef<[u8]>, existing: impl AsRef<[u8]>) {
        let (directory, name) = split_path(path.as_ref());
        self.tree
            .link(self.inode_id(directory), name, self.inode_id(existing.as_ref()))
            .expect("the tree accepts the link");
        let id = self.model.paths[existing.as_ref()];
        self.model.paths.insert(path.as_ref().to_vec(), id);
    }

    /// Replaces the metadata of the inode at a path.
    pub fn set_metadata(&mut self, path: impl AsRef<[u8]>, metadata: Metadata) {
        let path = path.as_ref();
        let id = self.inode_id(path);
        *self.tree.metadata_mut(id) = metadata.clone();
        let known = self.model.inodes.get_mut(&self.model.paths[path]);
        known.expect("each path has an inode").0 = metadata;
    }

    /// Removes a path with everything below it, and frees the content that has no name any more.
    pub fn remove(&mut self, path: impl AsRef<[u8]>) {
        let path = path.as_ref();
        let (directory, name) = split_path(path);
        for data in self
            .tree
            .remove(self.inode_id(directory), name)
            .expect("the path is in the tree")
        {
            self.formatter.free(data);
        }
        let is_below = |other: &[u8]| other.strip_prefix(path).is_some_and(|rest| rest.first() == Some(&b'/'));
        self.model.paths.retain(|other, _| other != path && !is_below(other));
        let named: BTreeSet<NodeId> = self.model.paths.values().copied().collect();
        self.model.inodes.retain(|id, _| named.contains(id));
    }

    /// Finishes the image. The returned model includes the `lost+found` that every image has.
    pub fn finish(mut self) -> Result<(O, Summary, Model), FormatError> {
        let (output, summary) = self.formatter.finish(self.tree)?;
        if !self.model.paths.contains_key(&b"lost+found"[..]) {
            let id = self.ids.len();
            self.model.paths.insert(b"lost+found".to_vec(), id);
            self.model.inodes.insert(id, (permissions(0o700), Node::Directory));
        }
        Ok((output, summary, self.model))
    }

    /// Returns the tree's inode at a path.
    pub fn inode_id(&self, path: &[u8]) -> InodeId {
        self.ids[self.model.paths[path]]
    }
}

/// Splits a path into the path of its directory and its last name.
pub fn split_path(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Returns metadata with a mode, and the default otherwise.
pub fn permissions(mode: u16) -> Metadata {
    Metadata {
        mode,
        ..Metadata::default()
    }
}
