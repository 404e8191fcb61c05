//! A POSIX tree: inodes, names, links and extended attributes. It knows nothing of ext4's blocks.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use std::mem;

use crate::data::Data;
use crate::error::TreeError;

/// Longest name in bytes (`NAME_MAX`).
pub const MAX_NAME_LEN: usize = 255;
/// Longest symlink target in bytes (`PATH_MAX` less its NUL).
pub const MAX_TARGET_LEN: usize = 4095;
/// Most hard links to one file (`EXT4_LINK_MAX`).
pub const MAX_LINKS: u32 = 65_000;

/// An inode of one [`Tree`]; its number on disk comes later.
///
/// Identifiers are given out once, in ascending order: that of a removed inode never names another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId(u32);

impl InodeId {
    /// The root directory of every tree.
    pub const ROOT: Self = Self(0);

    /// Position in creation order, from 0.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A point in time that an inode can hold: nanoseconds from 1901-12-13 to 2446-05-10.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    seconds: i64,
    nanoseconds: u32,
}

impl Timestamp {
    /// The earliest: 1901-12-13 20:45:52 UTC.
    pub const MIN: Self = Self {
        seconds: -(1 << 31),
        nanoseconds: 0,
    };
    /// The latest: 2446-05-10 22:38:55.999999999 UTC.
    pub const MAX: Self = Self {
        seconds: (3 << 32) + (1 << 31) - 1,
        nanoseconds: 999_999_999,
    };

    /// Seconds since 1970 and nanoseconds after them (0 to 999,999,999; what exceeds that is cut off),
    /// moved to [`Timestamp::MIN`] or [`Timestamp::MAX`] if it lies outside, as the kernel does when a time is set.
    #[must_use]
    pub fn saturating(seconds: i64, nanoseconds: u32) -> Self {
        let nanoseconds = nanoseconds.min(999_999_999);
        Self { seconds, nanoseconds }.clamp(Self::MIN, Self::MAX)
    }

    /// Seconds since 1970, rounded down.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after the second, 0 to 999,999,999.
    #[must_use]
    pub fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }
}

/// All that an inode says of itself besides its kind and content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission, setuid, setgid and sticky bits; others are ignored.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last access (`atime`).
    pub accessed: Timestamp,
    /// Last change of the content (`mtime`); also written as the time of creation.
    pub modified: Timestamp,
    /// Last change of the inode (`ctime`).
    pub changed: Timestamp,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

/// Extended attributes by their whole name, such as `user.note` or `security.capability`.
///
/// POSIX ACLs (`system.posix_acl_access`, `system.posix_acl_default`) have the form that the `getxattr` system call
/// shows. A name outside the namespaces of Linux is stored as it is, if the inode has room; Linux does not show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Xattrs(BTreeMap<Box<[u8]>, Box<[u8]>>);

impl Xattrs {
    /// Sets an attribute, replacing an earlier value.
    ///
    /// # Errors
    ///
    /// [`TreeError::InvalidXattrName`] for a name of 0 or more than 255 bytes, or one with a NUL.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), TreeError> {
        if name.is_empty() || name.len() > MAX_NAME_LEN || name.contains(&0) {
            return Err(TreeError::InvalidXattrName { name: name.to_vec() });
        }
        self.0.insert(name.into(), value.into());
        Ok(())
    }

    /// Value of an attribute.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.get(name).map(|value| &**value)
    }

    /// Removes an attribute and says whether there was one.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.0.remove(name).is_some()
    }

    /// Names and values, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Number of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Major number, 0 to 4,095.
    pub major: u32,
    /// Minor number, 0 to 1,048,575.
    pub minor: u32,
}

/// Names of a directory, and the directory above it.
#[derive(Debug)]
pub struct Directory {
    entries: BTreeMap<Box<[u8]>, InodeId>,
    parent: InodeId,
    subdirectory_count: u32,
}

impl Directory {
    /// An empty directory, which finds its place when it is inserted.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            parent: InodeId::ROOT,
            subdirectory_count: 0,
        }
    }

    /// Names and inodes, ordered by the bytes of the name.
    #[must_use]
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&[u8], InodeId)> {
        self.entries.iter().map(|(name, &id)| (&**name, id))
    }

    /// The directory above; the root's is the root.
    #[must_use]
    pub fn parent(&self) -> InodeId {
        self.parent
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
    File(Data),
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
/// let mut tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
/// let etc = tree.insert(InodeId::ROOT, b"etc", Metadata { mode: 0o755, ..Metadata::default() }, Kind::Directory(Directory::new()))?;
/// let link = Kind::Symlink(b"../run/hostname"[..].into());
/// let hostname = tree.insert(etc, b"hostname", Metadata { mode: 0o777, ..Metadata::default() }, link)?;
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
}

impl Tree {
    /// A tree with nothing but its root directory.
    #[must_use]
    pub fn new(root: Metadata) -> Self {
        let root = Inode {
            metadata: root,
            kind: Kind::Directory(Directory::new()),
            links: 1,
        };
        Self {
            inodes: vec![Some(Box::new(root))],
            held: BTreeSet::new(),
        }
    }

    /// An inode.
    ///
    /// # Panics
    ///
    /// If the inode was removed, or belongs to another tree.
    #[must_use]
    pub fn inode(&self, id: InodeId) -> &Inode {
        self.inodes[id.index()]
            .as_deref()
            .expect("the caller holds an inode of this tree that was not removed")
    }

    /// An inode, to change its metadata.
    ///
    /// # Panics
    ///
    /// If the inode was removed, or belongs to another tree.
    pub fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        self.inodes[id.index()]
            .as_deref_mut()
            .expect("the caller holds an inode of this tree that was not removed")
    }

    /// Whether the inode is still in the tree.
    #[must_use]
    pub fn contains(&self, id: InodeId) -> bool {
        self.inodes.get(id.index()).is_some_and(Option::is_some)
    }

    /// Inodes ever made: an upper bound of [`InodeId`]s.
    pub(crate) fn slot_count(&self) -> usize {
        self.inodes.len()
    }

    /// The entry of a directory, `None` if it has no such name or `directory` is none.
    #[must_use]
    pub fn lookup(&self, directory: InodeId, name: &[u8]) -> Option<InodeId> {
        self.inode(directory).directory()?.entries.get(name).copied()
    }

    /// Puts a new inode into a directory.
    ///
    /// # Errors
    ///
    /// [`TreeError::NotADirectory`], [`TreeError::AlreadyExists`], [`TreeError::InvalidName`], [`TreeError::InvalidTarget`],
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
                    parent: directory,
                    ..Directory::new()
                }
            }
            _ => {}
        }
        let id = InodeId(u32::try_from(self.inodes.len()).map_err(|_| TreeError::TooManyInodes)?);
        let is_directory = matches!(kind, Kind::Directory(_));
        self.add_entry(directory, name, id)?;
        if is_directory {
            self.directory_mut(directory)?.subdirectory_count += 1;
        }
        self.inodes.push(Some(Box::new(Inode {
            metadata,
            kind,
            links: 1,
        })));
        Ok(id)
    }

    /// Gives an inode one more name.
    ///
    /// # Errors
    ///
    /// [`TreeError::LinkToDirectory`], [`TreeError::TooManyLinks`], [`TreeError::NotADirectory`], [`TreeError::AlreadyExists`]
    /// and [`TreeError::InvalidName`]; the tree is then as it was.
    pub fn link(&mut self, directory: InodeId, name: &[u8], target: InodeId) -> Result<(), TreeError> {
        let inode = self.inode(target);
        if inode.directory().is_some() {
            return Err(TreeError::LinkToDirectory);
        }
        if inode.links == MAX_LINKS {
            return Err(TreeError::TooManyLinks);
        }
        self.add_entry(directory, name, target)?;
        self.inode_mut(target).links += 1;
        Ok(())
    }

    /// Removes a name, with all below it if it is a directory's, and returns the contents that no name leads to any more.
    ///
    /// # Errors
    ///
    /// [`TreeError::NotADirectory`] and [`TreeError::NotFound`].
    pub fn remove(&mut self, directory: InodeId, name: &[u8]) -> Result<Vec<Data>, TreeError> {
        let parent = self.directory_mut(directory)?;
        let removed = parent.entries.remove(name).ok_or(TreeError::NotFound)?;
        if self.inode(removed).directory().is_some() {
            self.directory_mut(directory)?.subdirectory_count -= 1;
        }
        let mut unreachable = Vec::new();
        // A list, not recursion: a hostile tree may be deeper than the stack.
        let mut pending = vec![removed];
        while let Some(id) = pending.pop() {
            let inode = self.inode_mut(id);
            inode.links -= 1;
            if inode.links > 0 || self.held.contains(&id) {
                continue;
            }
            match self.inodes[id.index()].take().map(|inode| inode.kind) {
                Some(Kind::Directory(directory)) => pending.extend(directory.entries.into_values()),
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
    /// [`TreeError::LinkToDirectory`] for a directory.
    ///
    /// # Panics
    ///
    /// If the inode was removed, or belongs to another tree.
    pub fn hold(&mut self, id: InodeId) -> Result<(), TreeError> {
        if self.inode(id).directory().is_some() {
            return Err(TreeError::LinkToDirectory);
        }
        self.held.insert(id);
        Ok(())
    }

    /// Removes the inodes that are held and have no name, and returns their contents. The others
    /// are held no longer.
    pub fn release(&mut self) -> Vec<Data> {
        let held = mem::take(&mut self.held).into_iter();
        let nameless = held.filter_map(|id| self.inodes[id.index()].take_if(|inode| inode.links == 0));
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

    /// Contents of all files.
    pub(crate) fn contents_mut(&mut self) -> impl Iterator<Item = &mut Data> {
        self.inodes
            .iter_mut()
            .flatten()
            .filter_map(|inode| match &mut inode.kind {
                Kind::File(data) => Some(data),
                _ => None,
            })
    }

    fn add_entry(&mut self, directory: InodeId, name: &[u8], id: InodeId) -> Result<(), TreeError> {
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
                entry.insert(id);
                Ok(())
            }
        }
    }

    fn directory_mut(&mut self, id: InodeId) -> Result<&mut Directory, TreeError> {
        match &mut self.inode_mut(id).kind {
            Kind::Directory(directory) => Ok(directory),
            _ => Err(TreeError::NotADirectory),
        }
    }
}

impl Default for Tree {
    /// A root directory of mode 0755 that belongs to root, at the epoch.
    fn default() -> Self {
        Self::new(Metadata {
            mode: 0o755,
            ..Metadata::default()
        })
    }
}
