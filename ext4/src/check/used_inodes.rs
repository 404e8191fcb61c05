//! Facts of each inode in use that later passes need: for names, links and bitmaps.

use crate::file_type::FileType;

/// Facts of an inode in use.
#[derive(Clone, Copy)]
pub(super) struct UsedInode {
    /// Its position in its group.
    pub(super) index: u32,
    /// None if it is unknown: the inode is in use all the same.
    pub(super) file_type: Option<FileType>,
    /// Links, by its own count.
    pub(super) links: u16,
    /// Links that were found: names, and for a directory its `.` and the `..` of those in it.
    pub(super) links_found: u32,
    /// It needs no name.
    pub(super) nameless: bool,
    /// It is one of AFS, whose names are elsewhere.
    pub(super) afs: bool,
    /// It is an orphan: open when its last name was removed.
    pub(super) orphan: bool,
}

impl UsedInode {
    pub(super) fn is_directory(self) -> bool {
        self.file_type == Some(FileType::Directory)
    }
}

/// Facts of all inodes in use: group by group, in the order of their numbers.
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

    /// Goes on with the inodes of the next group.
    pub(super) fn begin_group(&mut self) {
        if let Some(last) = self.groups.last_mut() {
            last.shrink_to_fit();
        }
        self.groups.push(Vec::new());
    }

    /// Adds an inode of the last group, whose number is the highest so far.
    pub(super) fn push(&mut self, used: UsedInode) {
        self.groups.last_mut().expect("a group was begun").push(used);
    }

    pub(super) fn get(&self, ino: u32) -> Option<&UsedInode> {
        let (group, index) = self.position(ino)?;
        let facts = self.groups.get(group)?;
        facts.get(index_of(facts, index)?)
    }

    pub(super) fn get_mut(&mut self, ino: u32) -> Option<&mut UsedInode> {
        let (group, index) = self.position(ino)?;
        let facts = self.groups.get_mut(group)?;
        let index = index_of(facts, index)?;
        facts.get_mut(index)
    }

    /// The group of an inode, which need not exist, and its position in it.
    pub(super) fn position(&self, ino: u32) -> Option<(usize, u32)> {
        let index = ino.checked_sub(1)?;
        let group = index.checked_div(self.per_group)?;
        Some((group as usize, index % self.per_group))
    }

    /// Facts of a group's inodes in use, in the order of their numbers.
    pub(super) fn in_group(&self, group: u32) -> impl Iterator<Item = UsedInode> + '_ {
        self.groups.get(group as usize).into_iter().flatten().copied()
    }

    /// Numbers of all inodes in use.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        let per_group = self.per_group;
        (0u32..)
            .zip(&self.groups)
            .flat_map(move |(group, facts)| facts.iter().map(move |used| group * per_group + used.index + 1))
    }
}

/// The index of the used whose inode has a position in its group.
fn index_of(facts: &[UsedInode], index: u32) -> Option<usize> {
    // They are equal in a group without gaps.
    let dense = facts.get(index as usize).is_some_and(|used| used.index == index);
    if dense {
        return Some(index as usize);
    }
    facts.binary_search_by_key(&index, |used| used.index).ok()
}
