//! [`Tree`]: a POSIX tree of inodes, names, links and extended attributes, independent of ext4's
//! blocks.

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

/// Maximum length of a name in bytes (`NAME_MAX`).
pub const MAX_NAME_LEN: usize = 255;
/// Maximum length of a symlink target in bytes (`PATH_MAX` less its NUL).
pub const MAX_TARGET_LEN: usize = 4095;
/// Maximum number of hard links to a file (`EXT4_LINK_MAX`).
pub const MAX_LINKS: u32 = 65_000;

/// Identifier of an inode in one [`Tree`]. Its number on disk is assigned later.
///
/// Identifiers are assigned once, in ascending order. That of a removed inode is never assigned
/// again, and except for [`InodeId::ROOT`], trees do not share identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId {
    index: u32,
    /// The tree of the inode; none for the root, which every tree has.
    tree: Origin,
}

impl InodeId {
    /// The root directory of every tree.
    pub const ROOT: Self = Self {
        index: 0,
        tree: Origin::NONE,
    };

    /// Creates the identifier of the inode at a position in creation order.
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

/// Device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    /// Major number, 0 to 4,095.
    pub major: u32,
    /// Minor number, 0 to 1,048,575.
    pub minor: u32,
}

/// Entries of a directory, and its parent directory.
#[derive(Debug)]
pub struct Directory {
    // Indexes alone: storing the tree's number as well would double the memory of each entry.
    entries: BTreeMap<Box<[u8]>, u32>,
    parent: u32,
    subdirectory_count: u32,
    tree: Origin,
}

impl Directory {
    /// Creates an empty directory. Its parent is set when it is inserted.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            parent: InodeId::ROOT.index,
            subdirectory_count: 0,
            tree: Origin::NONE,
        }
    }

    /// Iterates over names and inodes, ordered by the bytes of the name.
    #[must_use]
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&[u8], InodeId)> {
        self.entries
            .iter()
            .map(|(name, &index)| (&**name, InodeId::new(index, self.tree)))
    }

    /// The inode with this name.
    fn get(&self, name: &[u8]) -> Option<InodeId> {
        self.entries.get(name).map(|&index| InodeId::new(index, self.tree))
    }

    /// Returns the parent directory; the root's is the root itself.
    #[must_use]
    pub fn parent(&self) -> InodeId {
        InodeId::new(self.parent, self.tree)
    }

    /// Returns the number of directories among the entries.
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

/// Kind of an inode, with its content.
#[derive(Debug)]
pub enum Kind {
    /// A directory.
    Directory(Directory),
    /// A regular file, whose content is already in the image.
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
    /// Returns the type of the inode.
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

/// An inode of a [`Tree`].
#[derive(Debug)]
pub struct Inode {
    /// Mode, owner, times and extended attributes.
    pub metadata: Metadata,
    pub(crate) kind: Kind,
    links: u32,
}

impl Inode {
    /// Returns the kind of the inode, with its content.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Returns its entries if the inode is a directory.
    #[must_use]
    pub fn directory(&self) -> Option<&Directory> {
        match &self.kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// Returns the number of names, 1 to [`MAX_LINKS`]; 1 for a directory, and 0 for an inode that
    /// is [held](Tree::hold) without a name.
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
    // Boxed, so that the slot of a removed inode, which is never reused, costs one pointer.
    inodes: Vec<Option<Box<Inode>>>,
    /// Inodes that are kept when they have no name.
    held: BTreeSet<InodeId>,
    origin: Origin,
}

impl Tree {
    /// Creates a tree that contains only a root directory.
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

    /// Returns an inode, or `None` if it was removed or belongs to another tree.
    #[must_use]
    pub fn get(&self, id: InodeId) -> Option<&Inode> {
        self.inodes.get(self.slot(id)?)?.as_deref()
    }

    /// Returns an inode. [`Tree::get`] accepts any identifier.
    ///
    /// # Panics
    ///
    /// If the inode was removed, or belongs to another tree.
    #[must_use]
    pub fn inode(&self, id: InodeId) -> &Inode {
        self.get(id)
            .expect("the caller holds an inode of this tree that was not removed")
    }

    /// Returns the metadata of an inode for modification.
    ///
    /// # Panics
    ///
    /// If the inode was removed, or belongs to another tree.
    // Does not return the whole inode, because callers could swap inodes between trees, and with
    // them entries and link counts.
    pub fn metadata_mut(&mut self, id: InodeId) -> &mut Metadata {
        let inode = self
            .inode_mut(id)
            .expect("the caller holds an inode of this tree that was not removed");
        &mut inode.metadata
    }

    /// Returns whether the inode is in this tree: it was not removed, and does not belong to
    /// another tree.
    #[must_use]
    pub fn contains(&self, id: InodeId) -> bool {
        self.get(id).is_some()
    }

    /// Number of inodes ever created: an upper bound of [`InodeId::index`].
    pub(crate) fn slot_count(&self) -> usize {
        self.inodes.len()
    }

    /// Number of the tree, which the identifiers of its inodes contain.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Returns the inode of a name, or `None` if the directory has no entry of this name, or
    /// `directory` is not a directory of this tree.
    #[must_use]
    pub fn lookup(&self, directory: InodeId, name: &[u8]) -> Option<InodeId> {
        self.get(directory)?.directory()?.get(name)
    }

    /// Creates an inode in a directory.
    ///
    /// # Errors
    ///
    /// [`TreeError::NoSuchInode`] and [`TreeError::NotADirectory`] for the directory,
    /// [`TreeError::AlreadyExists`], [`TreeError::InvalidName`], [`TreeError::InvalidTarget`],
    /// [`TreeError::InvalidDevice`] and [`TreeError::TooManyInodes`]. The tree then stays as it
    /// was.
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

    /// Returns the directory at a path from the root, and creates missing directories: owned by
    /// root, with mode 0755, at the epoch. Does not follow symlinks.
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
    /// [`TreeError::NotADirectory`], [`TreeError::InvalidName`], also for `..`, and
    /// [`TreeError::TooManyInodes`]. Directories earlier in the path are kept.
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

    /// Adds a name to an inode.
    ///
    /// # Errors
    ///
    /// [`TreeError::NoSuchInode`] for the directory and the target,
    /// [`TreeError::LinkToDirectory`], [`TreeError::TooManyLinks`], [`TreeError::NotADirectory`],
    /// [`TreeError::AlreadyExists`] and [`TreeError::InvalidName`]. The tree then stays as it was.
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

    /// Removes a name, and everything below it if it is a directory's. Returns the contents of
    /// files that have no name any more.
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
        // A list instead of recursion: a hostile tree may be deeper than the stack.
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
    /// [`Tree::release`]. [`Formatter::finish`](crate::Formatter::finish) releases all held
    /// inodes.
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

    /// Ends all holds. Removes the held inodes that have no name, and returns their contents.
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

    /// A path to an inode of the tree, found by walking the whole tree.
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

    /// Iterates over the contents of all files, with their inodes.
    pub(crate) fn contents(&self) -> impl Iterator<Item = (InodeId, &FileData)> {
        (0..)
            .zip(&self.inodes)
            .filter_map(|(index, inode)| match &inode.as_deref()?.kind {
                Kind::File(data) => Some((InodeId::new(index, self.origin), data)),
                _ => None,
            })
    }

    /// Iterates over the contents of all files.
    pub(crate) fn contents_mut(&mut self) -> impl Iterator<Item = &mut FileData> {
        self.inodes
            .iter_mut()
            .flatten()
            .filter_map(|inode| match &mut inode.kind {
                Kind::File(data) => Some(data),
                _ => None,
            })
    }

    /// Position of an inode that is or was in this tree.
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
    /// A root directory with mode 0755, owned by root, at the epoch.
    fn default() -> Self {
        Self::new(Metadata::new(0o755))
    }
}
