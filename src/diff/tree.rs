//! Two trees, name by name.

use std::cmp::Ordering;
use std::rc::Rc;

use ext4::read::{DirEntry, Inode};
use ext4::{FileType, Ino};

use super::Comparison;
use super::content;
use super::difference::{DiffSection, Difference};
use super::error::{DiffError, DiffReason};
use super::layout;
use super::metadata;
use super::side::{Name, Side};
use layer::text::printable;

/// Longest path in bytes.
const MAX_PATH_LEN: usize = 1 << 16;

/// Directories of the same name whose entries are not compared yet.
struct Pending {
    name: Name,
    a: Inode,
    b: Inode,
}

/// Which of both.
#[derive(Clone, Copy)]
enum Which {
    A,
    B,
}

impl Comparison<'_> {
    /// Compares the trees, in the order of their paths as bytes, but directories before what is in them.
    pub(super) fn compare_trees(&mut self) -> Result<(), DiffError> {
        let (a, b) = (self.a.inode(Ino::ROOT)?, self.b.inode(Ino::ROOT)?);
        let root = Name {
            directory: Rc::from(&b""[..]),
            name: Box::default(),
        };
        let mut pending = Vec::new();
        self.compare_inodes(root, a, b, &mut pending)?;
        while let Some(Pending { name, a, b }) = pending.pop() {
            let path = name.path();
            if path.len() > MAX_PATH_LEN {
                return Err(self.a.failed(DiffReason::TooDeep { max: MAX_PATH_LEN }));
            }
            // The root's name is empty, so that its path ends like that of no other.
            let path: Rc<[u8]> = path.strip_suffix(b"/").unwrap_or(&path).into();
            let mut found = Vec::new();
            self.compare_entries(&path, &a, &b, &mut found)?;
            found.reverse();
            pending.append(&mut found);
        }
        Ok(())
    }

    fn compare_entries(
        &mut self,
        path: &Rc<[u8]>,
        a: &Inode,
        b: &Inode,
        found: &mut Vec<Pending>,
    ) -> Result<(), DiffError> {
        let mut left = self.a.entries(a)?.into_iter().peekable();
        let mut right = self.b.entries(b)?.into_iter().peekable();
        loop {
            let order = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) => a.name.cmp(&b.name),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return Ok(()),
            };
            let name = |entry: &DirEntry| Name {
                directory: Rc::clone(path),
                name: entry.name.clone(),
            };
            let a = left.next_if(|_| order.is_le());
            let b = right.next_if(|_| order.is_ge());
            match (a, b) {
                (Some(a), Some(b)) => {
                    let (name, a, b) = (name(&a), self.a.inode(a.ino)?, self.b.inode(b.ino)?);
                    self.compare_inodes(name, a, b, found)?;
                }
                (Some(a), None) => self.find_alone(&name(&a), &a, Which::A)?,
                (None, Some(b)) => self.find_alone(&name(&b), &b, Which::B)?,
                (None, None) => unreachable!("the next of both is one of them"),
            }
        }
    }

    /// A name that one of them has.
    fn find_alone(&mut self, name: &Name, entry: &DirEntry, which: Which) -> Result<(), DiffError> {
        let side = self.side(which);
        let inode = side.inode(entry.ino)?;
        let below = count_below(side, &inode)?;
        let kind = Some(inode.file_type.to_string());
        let difference = Difference::new(DiffSection::Tree, "type").at(name.path());
        let mut difference = match which {
            Which::A => difference.values(kind, None),
            Which::B => difference.values(None, kind),
        };
        difference.count = below;
        self.report(&difference)
    }

    fn side(&mut self, which: Which) -> &mut Side {
        match which {
            Which::A => &mut self.a,
            Which::B => &mut self.b,
        }
    }

    /// Compares what a name leads to.
    fn compare_inodes(&mut self, name: Name, a: Inode, b: Inode, found: &mut Vec<Pending>) -> Result<(), DiffError> {
        if a.file_type != b.file_type {
            for (side, inode) in [(&mut self.a, &a), (&mut self.b, &b)] {
                count_below(side, inode)?;
            }
            let kind = |inode: &Inode| Some(inode.file_type.to_string());
            let difference = Difference::new(DiffSection::Tree, "type").at(name.path());
            return self.report(&difference.values(kind(&a), kind(&b)));
        }
        let (a_places, b_places) = (self.a.meet(&a)?, self.b.meet(&b)?);
        let firsts = (self.a.first_name(&a, &name), self.b.first_name(&b, &name));
        let is_first = |first: &Option<Name>| first.as_ref().is_none_or(|first| *first == name);
        if firsts.0 == firsts.1 && !is_first(&firsts.0) {
            // Compared already, where the two have their first name.
            return Ok(());
        }
        if is_first(&firsts.0) != is_first(&firsts.1) || (!is_first(&firsts.0) && firsts.0 != firsts.1) {
            let target = |first: &Option<Name>| match first {
                Some(first) if *first != name => Some(printable(&first.path())),
                _ => None,
            };
            let difference = Difference::new(DiffSection::Tree, "hard link to").at(name.path());
            self.report(&difference.values(target(&firsts.0), target(&firsts.1)))?;
        }
        self.compare_metadata(&name, &a, &b)?;
        if a.file_type == FileType::RegularFile {
            // Files can be linked on one side and not on the other.
            for (side, inode, places) in [(&mut self.a, &a, &a_places), (&mut self.b, &b, &b_places)] {
                if places.is_none() {
                    side.compare_again(inode)?;
                }
            }
            self.compare_contents(&name, &a, &b)?;
        }
        if let (Some(a_places), Some(b_places)) = (&a_places, &b_places) {
            let moved = layout::moved((a.ino.get(), a_places), (b.ino.get(), b_places));
            self.find_moved(&name, &moved)?;
        }
        if a.file_type == FileType::Directory {
            found.push(Pending { name, a, b });
        }
        Ok(())
    }

    fn compare_metadata(&mut self, name: &Name, a: &Inode, b: &Inode) -> Result<(), DiffError> {
        let mut fields = metadata::fields(a, b);
        if a.file_type == FileType::Symlink {
            let (a, b) = (
                self.a.read(|reader| reader.read_link(a))?,
                self.b.read(|reader| reader.read_link(b))?,
            );
            if a != b {
                fields.push(("target".to_owned(), Some(printable(&a)), Some(printable(&b))));
            }
        }
        fields.extend(metadata::xattrs(&self.a.xattrs(a)?, &self.b.xattrs(b)?));
        fields.extend(metadata::hidden(a, b));
        if !fields.is_empty() {
            self.known.inodes.insert(a.ino.get());
        }
        for (field, a, b) in fields {
            self.report(&Difference::new(DiffSection::Tree, field).at(name.path()).values(a, b))?;
        }
        Ok(())
    }

    fn compare_contents(&mut self, name: &Name, a: &Inode, b: &Inode) -> Result<(), DiffError> {
        let differing = content::compare((&mut self.a, a), (&mut self.b, b), &mut self.budget)?;
        let Some(differing) = differing else {
            return Ok(());
        };
        self.known.contents.insert(a.ino.get());
        self.known.inodes.insert(a.ino.get());
        let [a, b] = differing.digests.map(|digest| digest.map(|digest| digest.to_string()));
        let mut difference = Difference::new(DiffSection::Tree, "content")
            .at(name.path())
            .values(a, b);
        difference.offset = Some(differing.offset);
        difference.excerpt = differing.excerpt;
        self.report(&difference)
    }

    fn find_moved(&mut self, name: &Name, moved: &[layout::Moved]) -> Result<(), DiffError> {
        if moved.is_empty() {
            return Ok(());
        }
        self.layout.add(&printable(&name.path()), moved);
        if self.options.every_place {
            for (field, a, b) in moved {
                let difference = Difference::new(DiffSection::Layout, *field).at(name.path());
                self.report(&difference.values(a.clone(), b.clone()))?;
            }
        }
        Ok(())
    }
}

/// Meets what is below a directory, and says how many names that are; none of what is no directory.
fn count_below(side: &mut Side, inode: &Inode) -> Result<Option<u64>, DiffError> {
    side.meet(inode)?;
    if inode.file_type != FileType::Directory {
        return Ok(None);
    }
    let mut count = 0;
    let mut pending = vec![inode.clone()];
    while let Some(directory) = pending.pop() {
        for entry in side.entries(&directory)? {
            count += 1;
            let inode = side.inode(entry.ino)?;
            side.meet(&inode)?;
            if inode.file_type == FileType::Directory {
                pending.push(inode);
            }
        }
    }
    Ok(Some(count))
}
