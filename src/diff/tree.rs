//! Comparison of the two trees, name by name.

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
use super::side::{DiffSide, Name};
use layer::text::printable;

/// Maximum length of a path in bytes.
const MAX_PATH_LEN: usize = 1 << 16;

/// Two directories at the same path whose entries have not been compared yet.
struct DirectoryPair {
    name: Name,
    a: Inode,
    b: Inode,
}

/// Identifies one of the two images.
#[derive(Clone, Copy)]
enum SideId {
    A,
    B,
}

impl Comparison<'_> {
    /// Compares the trees. All entries of a directory come before the entries of its
    /// subdirectories; within a directory, entries are ordered by the bytes of their names.
    pub(super) fn compare_trees(&mut self) -> Result<(), DiffError> {
        let (a, b) = (self.a.inode(Ino::ROOT)?, self.b.inode(Ino::ROOT)?);
        let root = Name {
            directory: Rc::from(&b""[..]),
            name: Box::default(),
        };
        let mut pending = Vec::new();
        self.compare_inodes(root, a, b, &mut pending)?;
        while let Some(DirectoryPair { name, a, b }) = pending.pop() {
            let path = name.path();
            if path.len() > MAX_PATH_LEN {
                return Err(self.a.error(DiffReason::TooDeep { max: MAX_PATH_LEN }));
            }
            // The root has an empty name, so its path alone ends with a slash.
            let path: Rc<[u8]> = path.strip_suffix(b"/").unwrap_or(&path).into();
            let mut subdirectories = Vec::new();
            self.compare_entries(&path, &a, &b, &mut subdirectories)?;
            subdirectories.reverse();
            pending.append(&mut subdirectories);
        }
        Ok(())
    }

    fn compare_entries(
        &mut self,
        path: &Rc<[u8]>,
        a: &Inode,
        b: &Inode,
        subdirectories: &mut Vec<DirectoryPair>,
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
            let name_of = |entry: &DirEntry| Name {
                directory: Rc::clone(path),
                name: entry.name.clone(),
            };
            let a = left.next_if(|_| order.is_le());
            let b = right.next_if(|_| order.is_ge());
            match (a, b) {
                (Some(a), Some(b)) => {
                    let (name, a, b) = (name_of(&a), self.a.inode(a.ino)?, self.b.inode(b.ino)?);
                    self.compare_inodes(name, a, b, subdirectories)?;
                }
                (Some(a), None) => self.report_only_in(&name_of(&a), &a, SideId::A)?,
                (None, Some(b)) => self.report_only_in(&name_of(&b), &b, SideId::B)?,
                (None, None) => unreachable!("the lesser name comes from one of them"),
            }
        }
    }

    /// Reports a name that only one image has.
    fn report_only_in(&mut self, name: &Name, entry: &DirEntry, side_id: SideId) -> Result<(), DiffError> {
        let side = self.side(side_id);
        let inode = side.inode(entry.ino)?;
        let below = count_below(side, &inode)?;
        let kind = Some(inode.file_type.to_string());
        let difference = Difference::new(DiffSection::Tree, "type").at(name.path());
        let mut difference = match side_id {
            SideId::A => difference.values(kind, None),
            SideId::B => difference.values(None, kind),
        };
        difference.count = below;
        self.report(&difference)
    }

    fn side(&mut self, side_id: SideId) -> &mut DiffSide {
        match side_id {
            SideId::A => &mut self.a,
            SideId::B => &mut self.b,
        }
    }

    /// Compares the inodes at a name that both images have.
    fn compare_inodes(
        &mut self,
        name: Name,
        a: Inode,
        b: Inode,
        subdirectories: &mut Vec<DirectoryPair>,
    ) -> Result<(), DiffError> {
        if a.file_type != b.file_type {
            // Visits all inodes below, so that their blocks have owners.
            for (side, inode) in [(&mut self.a, &a), (&mut self.b, &b)] {
                count_below(side, inode)?;
            }
            let kind = |inode: &Inode| Some(inode.file_type.to_string());
            let difference = Difference::new(DiffSection::Tree, "type").at(name.path());
            return self.report(&difference.values(kind(&a), kind(&b)));
        }
        let (a_blocks, b_blocks) = (self.a.visit(&a)?, self.b.visit(&b)?);
        let firsts = (self.a.first_name(&a, &name), self.b.first_name(&b, &name));
        let is_first = |first: &Option<Name>| first.as_ref().is_none_or(|first| *first == name);
        if firsts.0 == firsts.1 && !is_first(&firsts.0) {
            // Both were compared at their first name, which is the same.
            return Ok(());
        }
        // One is a first name and the other a link, or they are links to different first names.
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
            // A name can be a hard link in one image and a separate file in the other. Its content
            // is then compared again, up to a limit.
            for (side, inode, blocks) in [(&mut self.a, &a, &a_blocks), (&mut self.b, &b, &b_blocks)] {
                if blocks.is_none() {
                    side.charge_recompare(inode)?;
                }
            }
            self.compare_contents(&name, &a, &b)?;
        }
        if let (Some(a_blocks), Some(b_blocks)) = (&a_blocks, &b_blocks) {
            let relocations = layout::relocations((a.ino.get(), a_blocks), (b.ino.get(), b_blocks));
            self.report_relocations(&name, &relocations)?;
        }
        if a.file_type == FileType::Directory {
            subdirectories.push(DirectoryPair { name, a, b });
        }
        Ok(())
    }

    fn compare_metadata(&mut self, name: &Name, a: &Inode, b: &Inode) -> Result<(), DiffError> {
        let mut fields = metadata::visible_fields(a, b);
        if a.file_type == FileType::Symlink {
            let (a, b) = (
                self.a.read(|reader| reader.read_link(a))?,
                self.b.read(|reader| reader.read_link(b))?,
            );
            if a != b {
                fields.push(("target".to_owned(), Some(printable(&a)), Some(printable(&b))));
            }
        }
        fields.extend(metadata::xattr_fields(&self.a.xattrs(a)?, &self.b.xattrs(b)?));
        fields.extend(metadata::hidden_fields(a, b));
        if !fields.is_empty() {
            self.explained.inodes.insert(a.ino.get());
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
        self.explained.contents.insert(a.ino.get());
        self.explained.inodes.insert(a.ino.get());
        let [a, b] = differing.digests.map(|digest| digest.map(|digest| digest.to_string()));
        let mut difference = Difference::new(DiffSection::Tree, "content")
            .at(name.path())
            .values(a, b);
        difference.offset = Some(differing.offset);
        difference.excerpt = differing.excerpt;
        self.report(&difference)
    }

    fn report_relocations(&mut self, name: &Name, relocations: &[layout::Relocation]) -> Result<(), DiffError> {
        if relocations.is_empty() {
            return Ok(());
        }
        self.layout.add(&printable(&name.path()), relocations);
        if self.options.list_moved_files {
            for (field, a, b) in relocations {
                let difference = Difference::new(DiffSection::Layout, *field).at(name.path());
                self.report(&difference.values(a.clone(), b.clone()))?;
            }
        }
        Ok(())
    }
}

/// Visits an inode and, if it is a directory, all inodes below it. Returns the number of names
/// below a directory, or `None` for any other type.
fn count_below(side: &mut DiffSide, inode: &Inode) -> Result<Option<u64>, DiffError> {
    side.visit(inode)?;
    if inode.file_type != FileType::Directory {
        return Ok(None);
    }
    let mut count = 0;
    let mut pending = vec![inode.clone()];
    while let Some(directory) = pending.pop() {
        for entry in side.entries(&directory)? {
            count += 1;
            let inode = side.inode(entry.ino)?;
            side.visit(&inode)?;
            if inode.file_type == FileType::Directory {
                pending.push(inode);
            }
        }
    }
    Ok(Some(count))
}
