//! A POSIX tree: inodes, names, links and extended attributes. It knows nothing of ext4's blocks.

mod acl;
mod error;
mod metadata;

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use std::mem;

use crate::data::FileData;
use crate::file_type::FileType;
use crate::origin::Origin;

pub use acl::{Acl, AclError, AclTag};
pub use error::TreeError;
pub use metadata::{Metadata, Timestamp, Xattrs};

/// Longest name in bytes (`NAME_MAX`).
pub const MAX_NAME_LEN: usize = 255;
/// Longest symlink target in bytes (`PATH_MAX` less its NUL).
pub const MAX_TARGET_LEN: usize = 4095;
/// Most hard links to one file (`EXT4_LINK_MAX`).
pub const MAX_LINKS: u32 = 65_000;

/// An inode of one [`Tree`]; its number on disk comes later.
///
/// Identifiers are given out once, in ascending order: that of a removed inode never names another,
/// and that of an inode of one tree never names one of another tree, but for [`InodeId::ROOT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId {
    index: u32,
    /// The tree that it is in; none for the root, which every tree has.
    tree: Origin,
}

impl InodeId {
    /// The root directory of every tree.
    pub const ROOT: Self = Self {
        index: 0,
        tree: Origin::NONE,
    };

    /// The inode at a position in creation order.
    pub(crate) fn new(index: u32, tree: Origin) -> Self {
        match index {
            0 => Self::ROOT,
            _ => Self { index, tree },
        }
    }

    /// Position in creation order, from 0.
    pub(crate) fn index(self) -> u32 {
        self.index
    }
}

/// Number of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    /// Major number, 0 to 4,095.
    pub major: u32,
    /// Minor number, 0 to 1,048,575.
    pub minor: u32,
}

/// Names of a directory, and the directory above it.
#[derive(Debug)]
pub struct Directory {
    // Indexes alone: what tells trees apart would take as much again for each name.
    entries: BTreeMap<Box<[u8]>, u32>,
    parent: u32,
    subdirectory_count: u32,
    tree: Origin,
}

impl Directory {
    /// An empty directory, which finds its place when it is inserted.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            parent: InodeId::ROOT.index,
            subdirectory_count: 0,
            tree: Origin::NONE,
        }
    }

    /// Names and inodes, ordered by the bytes of the name.
    #[must_use]
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&[u8], InodeId)> {
        self.entries
            .iter()
            .map(|(name, &index)| (&**name, InodeId::new(index, self.tree)))
    }

    /// The inode of a name.
    fn get(&self, name: &[u8]) -> Option<InodeId> {
        self.entries.get(name).map(|&index| InodeId::new(index, self.tree))
    }

    /// The directory above; the root's is the root.
    #[must_use]
    pub fn parent(&self) -> InodeId {
        InodeId::new(self.parent, self.tree)
    }

    /// Directories among the entries.
    #[must_use]
    pub fn subdirectory_count(&self) -> u32 {
        self.subdirectory_count
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

/// What an inode is, with its content.
#[derive(Debug)]
pub enum Kind {
    /// A directory.
    Directory(Directory),
    /// A regular file; its content is in the image already.
    File(FileData),
    /// A symbolic link and its target.
    Symlink(Box<[u8]>),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Kind {
    /// Type of the inode.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        match self {
            Self::Directory(_) => FileType::Directory,
            Self::File(_) => FileType::RegularFile,
            Self::Symlink(_) => FileType::Symlink,
            Self::CharDevice(_) => FileType::CharacterDevice,
            Self::BlockDevice(_) => FileType::BlockDevice,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
        }
    }
}

/// A file of any kind.
#[derive(Debug)]
pub struct Inode {
    /// Mode, owner, times and extended attributes.
    pub metadata: Metadata,
    pub(crate) kind: Kind,
    links: u32,
}

impl Inode {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The directory that it is, if it is one.
    #[must_use]
    pub fn directory(&self) -> Option<&Directory> {
        match &self.kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// Names of the inode, 1 to [`MAX_LINKS`]; 1 for a directory.
    #[must_use]
    pub fn links(&self) -> u32 {
        self.links
    }
}

/// A tree of inodes with a root directory.
///
/// ```
/// use ext4::{Kind, Metadata, Tree, InodeId, Directory};
///
/// let mut tree = Tree::default();
/// let etc = Kind::Directory(Directory::new());
/// let etc = tree.insert(InodeId::ROOT, b"etc", Metadata::new(0o755), etc)?;
/// let link = Kind::Symlink(b"../run/hostname"[..].into());
/// let hostname = tree.insert(etc, b"hostname", Metadata::new(0o777), link)?;
/// tree.link(etc, b"nodename", hostname)?;
/// assert_eq!(tree.inode(hostname).links(), 2);
/// # Ok::<(), ext4::TreeError>(())
/// ```
#[derive(Debug)]
pub struct Tree {
    // Boxed, so that the slots of removed inodes, which are never given out again, cost a pointer each.
    inodes: Vec<Option<Box<Inode>>>,
    /// Inodes that stay without a name.
    held: BTreeSet<InodeId>,
    origin: Origin,
}

impl Tree {
    /// A tree with nothing but its root directory.
    #[must_use]
    pub fn new(root: Metadata) -> Self {
        let origin = Origin::new();
        let directory = Directory {
            tree: origin,
            ..Directory::new()
        };
        let root = Inode {
            metadata: root,
            kind: Kind::Directory(directory),
            links: 1,
        };
        Self {
            inodes: vec![Some(Box::new(root))],
            held: BTreeSet::new(),
            origin,
        }
    }

    /// An inode, `None` if it was removed, or belongs to another tree.
    #[must_use]
    pub fn get(&self, id: InodeId) -> Option<&Inode> {
        self.inodes.get(self.slot(id)?)?.as_deref()
    }

    /// An inode. [`Tree::get`] is for identifiers that may be those of others.
    ///
    /// # Panics
    ///
    /// If the inode was removed, or belongs to another tree.
    #[must_use]
    pub fn inode(&self, id: InodeId) -> &Inode {
        self.get(id)
            .expect("the caller holds an inode of this tree that was not removed")
    }

    /// Metadata of an inode, to change it.
    ///
    /// # Panics
    ///
    /// If the inode was removed, or belongs to another tree.
    // Not the whole inode: two trees could exchange theirs, and with them names and counts of
    // links.
    pub fn metadata_mut(&mut self, id: InodeId) -> &mut Metadata {
        let inode = self
            .inode_mut(id)
            .expect("the caller holds an inode of this tree that was not removed");
        &mut inode.metadata
    }

    /// Returns whether the inode is in the tree: one that was removed is not, nor is that of
    /// another tree.
    #[must_use]
    pub fn contains(&self, id: InodeId) -> bool {
        self.get(id).is_some()
    }

    /// Inodes ever made: an upper bound of [`InodeId`]s.
    pub(crate) fn slot_count(&self) -> usize {
        self.inodes.len()
    }

    /// Number of the tree, which the identifiers of its inodes carry.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// The entry of a directory, `None` if it has no such name or `directory` is not a directory of
    /// this tree.
    #[must_use]
    pub fn lookup(&self, directory: InodeId, name: &[u8]) -> Option<InodeId> {
        self.get(directory)?.directory()?.get(name)
    }

    /// Puts a new inode into a directory.
    ///
    /// # Errors
    ///
    /// [`TreeError::NoSuchInode`] and [`TreeError::NotADirectory`] for the directory,
    /// [`TreeError::AlreadyExists`], [`TreeError::InvalidName`], [`TreeError::InvalidTarget`],
    /// [`TreeError::InvalidDevice`] and [`TreeError::TooManyInodes`]; the tree is then as it was.
    pub fn insert(
        &mut self,
        directory: InodeId,
        name: &[u8],
        metadata: Metadata,
        mut kind: Kind,
    ) -> Result<InodeId, TreeError> {
        match &mut kind {
            Kind::Symlink(target) if !(1..=MAX_TARGET_LEN).contains(&target.len()) || target.contains(&0) => {
                return Err(TreeError::InvalidTarget { len: target.len() });
            }
            &mut (Kind::CharDevice(Device { major, minor }) | Kind::BlockDevice(Device { major, minor }))
                if major >= 1 << 12 || minor >= 1 << 20 =>
            {
                return Err(TreeError::InvalidDevice { major, minor });
            }
            Kind::Directory(inserted) => {
                *inserted = Directory {
                    parent: directory.index,
                    tree: self.origin,
                    ..Directory::new()
                }
            }
            _ => {}
        }
        let index = u32::try_from(self.inodes.len()).map_err(|_| TreeError::TooManyInodes)?;
        let is_directory = matches!(kind, Kind::Directory(_));
        self.add_entry(directory, name, index)?;
        if is_directory {
            self.directory_mut(directory)?.subdirectory_count += 1;
        }
        self.inodes.push(Some(Box::new(Inode {
            metadata,
            kind,
            links: 1,
        })));
        Ok(InodeId::new(index, self.origin))
    }

    /// Finds a directory by its path from the root on, and makes the directories that are missing:
    /// root's, with mode 0755, at the epoch. Follows no symlinks.
    ///
    /// ```
    /// use ext4::Tree;
    ///
    /// let mut tree = Tree::default();
    /// let share = tree.mkdir_all(b"usr/share")?;
    /// assert_eq!(tree.mkdir_all(b"/usr/share/")?, share);
    /// # Ok::<(), ext4::TreeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TreeError::NotADirectory`], [`TreeError::InvalidName`], of `..` too, and
    /// [`TreeError::TooManyInodes`]; directories before that in the path are made.
    pub fn mkdir_all(&mut self, path: &[u8]) -> Result<InodeId, TreeError> {
        let mut directory = InodeId::ROOT;
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            directory = match self.lookup(directory, name) {
                Some(id) => id,
                None => self.insert(directory, name, Metadata::new(0o755), Kind::Directory(Directory::new()))?,
            };
        }
        self.directory_mut(directory)?;
        Ok(directory)
    }

    /// Gives an inode one more name.
    ///
    /// # Errors
    ///
    /// [`TreeError::NoSuchInode`] for the directory and the target, [`TreeError::LinkToDirectory`],
    /// [`TreeError::TooManyLinks`], [`TreeError::NotADirectory`], [`TreeError::AlreadyExists`] and
    /// [`TreeError::InvalidName`]; the tree is then as it was.
    pub fn link(&mut self, directory: InodeId, name: &[u8], target: InodeId) -> Result<(), TreeError> {
        let inode = self.get(target).ok_or(TreeError::NoSuchInode { id: target })?;
        if inode.directory().is_some() {
            return Err(TreeError::LinkToDirectory);
        }
        if inode.links == MAX_LINKS {
            return Err(TreeError::TooManyLinks);
        }
        self.add_entry(directory, name, target.index)?;
        self.inode_mut(target)?.links += 1;
        Ok(())
    }

    /// Removes a name, with all below it if it is a directory's, and returns the contents that no name leads to any more.
    ///
    /// # Errors
    ///
    /// [`TreeError::NoSuchInode`], [`TreeError::NotADirectory`] and [`TreeError::NotFound`].
    pub fn remove(&mut self, directory: InodeId, name: &[u8]) -> Result<Vec<FileData>, TreeError> {
        let parent = self.directory_mut(directory)?;
        let removed = parent.entries.remove(name).ok_or(TreeError::NotFound)?;
        let removed = InodeId::new(removed, self.origin);
        if self.inode(removed).directory().is_some() {
            self.directory_mut(directory)?.subdirectory_count -= 1;
        }
        let mut unreachable = Vec::new();
        // A list, not recursion: a hostile tree may be deeper than the stack.
        let mut pending = vec![removed];
        while let Some(id) = pending.pop() {
            let inode = self.inode_mut(id)?;
            inode.links -= 1;
            if inode.links > 0 || self.held.contains(&id) {
                continue;
            }
            match self.inodes[id.index as usize].take().map(|inode| inode.kind) {
                Some(Kind::Directory(directory)) => {
                    let indexes = directory.entries.into_values();
                    pending.extend(indexes.map(|index| InodeId::new(index, self.origin)));
                }
                Some(Kind::File(data)) => unreachable.push(data),
                _ => {}
            }
        }
        Ok(unreachable)
    }

    /// Keeps an inode when its last name is removed, so that it can be linked again, until
    /// [`Tree::release`]. The formatter releases what is still held when it finishes.
    ///
    /// # Errors
    ///
    /// [`TreeError::LinkToDirectory`] for a directory, and [`TreeError::NoSuchInode`].
    pub fn hold(&mut self, id: InodeId) -> Result<(), TreeError> {
        let inode = self.get(id).ok_or(TreeError::NoSuchInode { id })?;
        if inode.directory().is_some() {
            return Err(TreeError::LinkToDirectory);
        }
        self.held.insert(id);
        Ok(())
    }

    /// Removes the inodes that are held and have no name, and returns their contents. The others
    /// are held no longer.
    pub fn release(&mut self) -> Vec<FileData> {
        let held = mem::take(&mut self.held).into_iter();
        let nameless = held.filter_map(|id| self.inodes[id.index as usize].take_if(|inode| inode.links == 0));
        let kinds = nameless.map(|inode| inode.kind);
        kinds
            .filter_map(|kind| match kind {
                Kind::File(data) => Some(data),
                _ => None,
            })
            .collect()
    }

    /// A path that leads to an inode of the tree, found by looking everywhere.
    pub(crate) fn path_of(&self, id: InodeId) -> String {
        let mut pending = vec![(InodeId::ROOT, String::from("/"))];
        while let Some((directory, path)) = pending.pop() {
            if directory == id {
                return path;
            }
            for (name, child) in self
                .inode(directory)
                .directory()
                .into_iter()
                .flat_map(Directory::entries)
            {
                let separator = if path == "/" { "" } else { "/" };
                pending.push((child, format!("{path}{separator}{}", String::from_utf8_lossy(name))));
            }
        }
        unreachable!("every inode of a tree has a name")
    }

    /// Contents of all files, and the inodes that have them.
    pub(crate) fn contents(&self) -> impl Iterator<Item = (InodeId, &FileData)> {
        (0..)
            .zip(&self.inodes)
            .filter_map(|(index, inode)| match &inode.as_deref()?.kind {
                Kind::File(data) => Some((InodeId::new(index, self.origin), data)),
                _ => None,
            })
    }

    /// Contents of all files.
    pub(crate) fn contents_mut(&mut self) -> impl Iterator<Item = &mut FileData> {
        self.inodes
            .iter_mut()
            .flatten()
            .filter_map(|inode| match &mut inode.kind {
                Kind::File(data) => Some(data),
                _ => None,
            })
    }

    /// Position of an inode that is or was in the tree.
    fn slot(&self, id: InodeId) -> Option<usize> {
        (id == InodeId::ROOT || id.tree == self.origin).then_some(id.index as usize)
    }

    fn inode_mut(&mut self, id: InodeId) -> Result<&mut Inode, TreeError> {
        let slot = self.slot(id).and_then(|slot| self.inodes.get_mut(slot));
        slot.and_then(Option::as_deref_mut).ok_or(TreeError::NoSuchInode { id })
    }

    fn add_entry(&mut self, directory: InodeId, name: &[u8], index: u32) -> Result<(), TreeError> {
        if name.is_empty()
            || name.len() > MAX_NAME_LEN
            || name == b"."
            || name == b".."
            || name.iter().any(|&byte| byte == b'/' || byte == 0)
        {
            return Err(TreeError::InvalidName { name: name.to_vec() });
        }
        match self.directory_mut(directory)?.entries.entry(name.into()) {
            Entry::Occupied(_) => Err(TreeError::AlreadyExists),
            Entry::Vacant(entry) => {
                entry.insert(index);
                Ok(())
            }
        }
    }

    fn directory_mut(&mut self, id: InodeId) -> Result<&mut Directory, TreeError> {
        match &mut self.inode_mut(id)?.kind {
            Kind::Directory(directory) => Ok(directory),
            _ => Err(TreeError::NotADirectory),
        }
    }
}

impl Default for Tree {
    /// A root directory of mode 0755 that belongs to root, at the epoch.
    fn default() -> Self {
        Self::new(Metadata::new(0o755))
    }
}
