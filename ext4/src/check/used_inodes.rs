//! Used inodes, with the fields that later steps need: for names, links and bitmaps.

use crate::file_type::FileType;

/// Inode in use.
#[derive(Clone, Copy)]
pub(super) struct UsedInode {
    /// Position of the inode in its group.
    pub(super) index: u32,
    /// Type of the file, or `None` if it is unknown. The inode is in use nevertheless.
    pub(super) file_type: Option<FileType>,
    /// Number of links according to the inode.
    pub(super) links: u16,
    /// Number of links found: names, and for a directory its `.` and the `..` of its
    /// subdirectories.
    pub(super) links_found: u32,
    /// The inode needs no name.
    pub(super) nameless: bool,
    /// The inode belongs to AFS, which keeps its names elsewhere.
    pub(super) afs: bool,
    /// The inode is an orphan: it was open when its last name was removed.
    pub(super) orphan: bool,
}

impl UsedInode {
    pub(super) fn is_directory(self) -> bool {
        self.file_type == Some(FileType::Directory)
    }
}

/// All inodes in use, by group, in the order of their numbers.
pub(super) struct UsedInodes {
    groups: Vec<Vec<UsedInode>>,
    per_group: u32,
}

impl UsedInodes {
    pub(super) fn new(per_group: u32) -> Self {
        Self {
            groups: Vec::new(),
            per_group,
        }
    }

    pub(super) fn per_group(&self) -> u32 {
        self.per_group
    }

    /// Begins the next group. Inodes that are added belong to it.
    pub(super) fn begin_group(&mut self) {
        if let Some(last) = self.groups.last_mut() {
            last.shrink_to_fit();
        }
        self.groups.push(Vec::new());
    }

    /// Adds an inode to the last group. Its number must be the highest so far.
    pub(super) fn push(&mut self, used: UsedInode) {
        self.groups.last_mut().expect("a group was begun").push(used);
    }

    pub(super) fn get(&self, ino: u32) -> Option<&UsedInode> {
        let (group, index) = self.position(ino)?;
        let inodes = self.groups.get(group)?;
        inodes.get(index_of(inodes, index)?)
    }

    pub(super) fn get_mut(&mut self, ino: u32) -> Option<&mut UsedInode> {
        let (group, index) = self.position(ino)?;
        let inodes = self.groups.get_mut(group)?;
        let index = index_of(inodes, index)?;
        inodes.get_mut(index)
    }

    /// Returns the group of an inode, which need not exist, and the inode's position in the group.
    pub(super) fn position(&self, ino: u32) -> Option<(usize, u32)> {
        let index = ino.checked_sub(1)?;
        let group = index.checked_div(self.per_group)?;
        Some((group as usize, index % self.per_group))
    }

    /// Returns the used inodes of a group, in the order of their numbers.
    pub(super) fn in_group(&self, group: u32) -> impl Iterator<Item = UsedInode> + '_ {
        self.groups.get(group as usize).into_iter().flatten().copied()
    }

    /// Returns the numbers of all used inodes.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        let per_group = self.per_group;
        (0u32..)
            .zip(&self.groups)
            .flat_map(move |(group, inodes)| inodes.iter().map(move |used| group * per_group + used.index + 1))
    }
}

/// Returns the index in `inodes` of the inode with a position in its group.
fn index_of(inodes: &[UsedInode], index: u32) -> Option<usize> {
    // Index and position are equal if all inodes before this one are in use.
    let dense = inodes.get(index as usize).is_some_and(|used| used.index == index);
    if dense {
        return Some(index as usize);
    }
    inodes.binary_search_by_key(&index, |used| used.index).ok()
}
