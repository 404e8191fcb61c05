//! What is kept of each inode in use, for the names, links and bitmaps.

use crate::file_type::FileType;

/// What is kept of an inode in use.
#[derive(Clone, Copy)]
pub(super) struct InodeFact {
    /// Its place in its group.
    pub(super) index: u32,
    /// None if it is unknown: the inode is in use all the same.
    pub(super) file_type: Option<FileType>,
    /// Names that it says it has.
    pub(super) links: u16,
    /// Names that it has, with a directory's own and those of the ones in it.
    pub(super) found: u32,
    /// It needs no name.
    pub(super) is_nameless: bool,
    /// It is one of AFS, whose names are elsewhere.
    pub(super) is_foreign: bool,
    /// It is in the list of files that had none any more, but were open.
    pub(super) is_orphan: bool,
}

impl InodeFact {
    pub(super) fn is_directory(self) -> bool {
        self.file_type == Some(FileType::Directory)
    }
}

/// What is kept of all inodes in use: group by group, in the order of their numbers.
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

    /// Keeps what is known of an inode of the last group, whose number is the highest so far.
    pub(super) fn push(&mut self, fact: InodeFact) {
        self.groups.last_mut().expect("a group was begun").push(fact);
    }

    pub(super) fn get(&self, ino: u32) -> Option<&InodeFact> {
        let (group, index) = self.place_of(ino)?;
        let facts = self.groups.get(group)?;
        facts.get(place_in(facts, index)?)
    }

    pub(super) fn get_mut(&mut self, ino: u32) -> Option<&mut InodeFact> {
        let (group, index) = self.place_of(ino)?;
        let facts = self.groups.get_mut(group)?;
        let place = place_in(facts, index)?;
        facts.get_mut(place)
    }

    /// The group of an inode, which there need not be, and its place in it.
    pub(super) fn place_of(&self, ino: u32) -> Option<(usize, u32)> {
        let index = ino.checked_sub(1)?;
        let group = index.checked_div(self.per_group)?;
        Some((group as usize, index % self.per_group))
    }

    /// What is kept of a group's inodes in use, in the order of their numbers.
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

/// Where the fact is of the inode that has a place in its group.
fn place_in(facts: &[InodeFact], index: u32) -> Option<usize> {
    // In a group without gaps it is known.
    let dense = facts.get(index as usize).is_some_and(|fact| fact.index == index);
    if dense {
        return Some(index as usize);
    }
    facts.binary_search_by_key(&index, |fact| fact.index).ok()
}
