//! Facts of each inode in use that later passes need: for names, links and bitmaps.

use crate::file_type::FileType;

/// Facts of an inode in use.
#[derive(Clone, Copy)]
pub(super) struct InodeFact {
    /// Its position in its group.
    pub(super) index: u32,
    /// None if it is unknown: the inode is in use all the same.
    pub(super) file_type: Option<FileType>,
    /// Links, by its own count.
    pub(super) links: u16,
    /// Links that were found: names, and for a directory its `.` and the `..` of those in it.
    pub(super) found: u32,
    /// It needs no name.
    pub(super) is_nameless: bool,
    /// It is one of AFS, whose names are elsewhere.
    pub(super) is_foreign: bool,
    /// It is an orphan: open when its last name was removed.
    pub(super) is_orphan: bool,
}

impl InodeFact {
    pub(super) fn is_directory(self) -> bool {
        self.file_type == Some(FileType::Directory)
    }
}

/// Facts of all inodes in use: group by group, in the order of their numbers.
pub(super) struct InodeFacts {
    groups: Vec<Vec<InodeFact>>,
    per_group: u32,
}

impl InodeFacts {
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
    pub(super) fn push(&mut self, fact: InodeFact) {
        self.groups.last_mut().expect("a group was begun").push(fact);
    }

    pub(super) fn get(&self, ino: u32) -> Option<&InodeFact> {
        let (group, index) = self.position(ino)?;
        let facts = self.groups.get(group)?;
        facts.get(index_of(facts, index)?)
    }

    pub(super) fn get_mut(&mut self, ino: u32) -> Option<&mut InodeFact> {
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
    pub(super) fn of_group(&self, group: u32) -> impl Iterator<Item = InodeFact> + '_ {
        self.groups.get(group as usize).into_iter().flatten().copied()
    }

    /// Numbers of all inodes in use.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        let per_group = self.per_group;
        (0u32..)
            .zip(&self.groups)
            .flat_map(move |(group, facts)| facts.iter().map(move |fact| group * per_group + fact.index + 1))
    }
}

/// The index of the fact whose inode has a position in its group.
fn index_of(facts: &[InodeFact], index: u32) -> Option<usize> {
    // They are equal in a group without gaps.
    let dense = facts.get(index as usize).is_some_and(|fact| fact.index == index);
    if dense {
        return Some(index as usize);
    }
    facts.binary_search_by_key(&index, |fact| fact.index).ok()
}
