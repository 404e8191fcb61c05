//! From a disk image to a directory.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::rc::Rc;

use ext4::read::Inode;
use ext4::{FileType, ReadAt, ReadError, Reader, Xattrs};
use sha2::{Digest as _, Sha256};

use super::StageReason;
use super::confined::{Directory, Root, join};
use super::mtree;
use super::zeros::write_sparsely;
use layer::cancel::Cancel;

/// Bytes that are copied at once.
const CHUNK: usize = 1 << 20;
/// Most bytes of holes of a file that are hashed, and of all files together, so that what takes no room takes no time.
const MAX_HASHED_HOLES: u64 = 4 << 30;
const MAX_HASHED_HOLES_IN_ALL: u64 = 64 << 30;

/// How much of an image a directory is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fidelity {
    /// All that this user can make and set.
    Full,
    /// Names, contents, targets and hard links of files, readable and writable for this user, but no devices.
    Content,
}

/// An export on its way.
pub(super) struct Exporter<'a, R, W> {
    reader: &'a Reader<R>,
    root: &'a Root,
    fidelity: Fidelity,
    specification: Option<W>,
    cancel: &'a Cancel,
    /// Directories whose entries are not made yet, the next one last.
    pending: Vec<Found>,
    /// Directories that are made, parents before their children.
    made: Vec<Found>,
    /// Numbers of both.
    seen: HashSet<u32>,
    /// Inodes with more than one name, by number.
    linked: HashMap<u32, Linked>,
    /// Bytes of holes that may still be hashed.
    hashable_holes: u64,
    buffer: Vec<u8>,
}

/// A directory of the image.
#[derive(Clone)]
struct Found {
    /// Names from below the root on, with `/` between them.
    path: Rc<[u8]>,
    inode: Rc<Inode>,
}

/// What the first name of an inode became.
struct Linked {
    directory: Rc<[u8]>,
    name: Box<[u8]>,
    is_made: bool,
    digest: Option<String>,
}

impl<'a, R: ReadAt, W: Write> Exporter<'a, R, W> {
    /// An export into an empty directory; with a file for the specification (mtree) of it all.
    pub(super) fn new(
        reader: &'a Reader<R>,
        root: &'a Root,
        fidelity: Fidelity,
        specification: Option<W>,
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            reader,
            root,
            fidelity,
            specification,
            cancel,
            pending: Vec::new(),
            made: Vec::new(),
            seen: HashSet::new(),
            linked: HashMap::new(),
            hashable_holes: MAX_HASHED_HOLES_IN_ALL,
            buffer: vec![0; CHUNK],
        }
    }

    /// Makes all there is.
    pub(super) fn run(mut self) -> Result<(), StageReason> {
        let inode = self.reader.root().map_err(read(b""))?;
        if let Some(out) = &mut self.specification {
            mtree::begin(out).map_err(write(b""))?;
        }
        let xattrs = self.reader.xattrs(&inode).map_err(read(b""))?;
        self.specify(b"", &inode, None, None, &xattrs)?;
        self.found_directory(Rc::from(&b""[..]), inode)?;
        while let Some(directory) = self.pending.pop() {
            self.fill(&directory)?;
            self.made.push(directory);
        }
        if self.fidelity == Fidelity::Full {
            // What is made in a directory changes its times, and may be all that ever can be: so the last is the first.
            for Found { path, inode } in self.made.iter().rev() {
                self.cancel.check()?;
                let xattrs = self.reader.xattrs(inode).map_err(read(path))?;
                let describe = || self.root.directory(path)?.describe_itself(inode, &xattrs);
                describe().map_err(write(path))?;
            }
        }
        if let Some(mut out) = self.specification {
            out.flush().map_err(write(b""))?;
        }
        Ok(())
    }

    fn found_directory(&mut self, path: Rc<[u8]>, inode: Inode) -> Result<(), StageReason> {
        if !self.seen.insert(inode.ino.get()) {
            return Err(StageReason::SecondDirectory { path: printable(&path) });
        }
        let inode = Rc::new(inode);
        self.pending.push(Found { path, inode });
        Ok(())
    }

    /// Makes the entries of a directory.
    fn fill(&mut self, found: &Found) -> Result<(), StageReason> {
        let directory = self.root.directory(&found.path).map_err(write(&found.path))?;
        let entries = self.reader.read_dir(&found.inode).map_err(read(&found.path))?;
        let mut subdirectories = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            self.cancel.check()?;
            let path: Rc<[u8]> = join(&found.path, &entry.name).into();
            let inode = self.reader.inode(entry.ino).map_err(read(&path))?;
            let made = self.make(&directory, found, &path, &entry.name, &inode);
            made.map_err(|reason| match reason {
                StageReason::Write { source, path } if source.kind() == io::ErrorKind::AlreadyExists => {
                    let others = entries[..index].iter().map(|entry| &*entry.name);
                    let other = others.into_iter().find(|other| directory.are_same(other, &entry.name));
                    let other = other.map_or_else(
                        || "another name in the same directory".to_owned(),
                        |other| printable(&join(&found.path, other)),
                    );
                    StageReason::SameName { path, other }
                }
                StageReason::Write { source, path } if source.kind() == io::ErrorKind::InvalidFilename => {
                    StageReason::Name { path }
                }
                reason => reason,
            })?;
            if inode.file_type == FileType::Directory {
                subdirectories.push((path, inode));
            }
        }
        for (path, inode) in subdirectories.into_iter().rev() {
            self.found_directory(path, inode)?;
        }
        Ok(())
    }

    /// Makes what a name leads to, and describes it. Of directories nothing is set yet.
    fn make(
        &mut self,
        directory: &Directory,
        parent: &Found,
        path: &[u8],
        name: &[u8],
        inode: &Inode,
    ) -> Result<(), StageReason> {
        let xattrs = self.reader.xattrs(inode).map_err(read(path))?;
        let target = match inode.file_type {
            FileType::Symlink => Some(self.reader.read_link(inode).map_err(read(path))?),
            _ => None,
        };
        let is_linked = inode.file_type != FileType::Directory && inode.links > 1;
        let mut digest = None;
        if let Some(first) = self.linked.get(&inode.ino.get()).filter(|_| is_linked) {
            // What copies a directory may take two names of a symlink for two symlinks.
            let is_wanted = self.fidelity == Fidelity::Full || inode.file_type != FileType::Symlink;
            if first.is_made && is_wanted {
                let link = || directory.make_link(name, &self.root.directory(&first.directory)?, &first.name);
                link().map_err(write(path))?;
            }
            digest.clone_from(&first.digest);
        } else {
            let is_made = match (inode.file_type, &target) {
                (FileType::Directory, _) => directory.make_directory(name).map(|()| true),
                (FileType::Symlink, Some(target)) => directory.make_symlink(name, target),
                (FileType::RegularFile, _) => {
                    let mut file = directory.make_file(name).map_err(write(path))?;
                    digest = self.copy(path, inode, &mut file)?;
                    Ok(true)
                }
                // So that it makes no difference who exports.
                (FileType::CharacterDevice | FileType::BlockDevice, _) if self.fidelity == Fidelity::Content => {
                    Ok(false)
                }
                _ => directory.make_special(name, inode.file_type, inode.device),
            };
            let is_made = is_made.map_err(write(path))?;
            if is_made && inode.file_type != FileType::Directory && self.fidelity == Fidelity::Full {
                directory.describe(name, inode, &xattrs).map_err(write(path))?;
            }
            if is_linked {
                let first = Linked {
                    directory: Rc::clone(&parent.path),
                    name: name.into(),
                    is_made,
                    digest: digest.clone(),
                };
                self.linked.insert(inode.ino.get(), first);
            }
        }
        self.specify(path, inode, target.as_deref(), digest.as_deref(), &xattrs)
    }

    fn specify(
        &mut self,
        path: &[u8],
        inode: &Inode,
        target: Option<&[u8]>,
        digest: Option<&str>,
        xattrs: &Xattrs,
    ) -> Result<(), StageReason> {
        let Some(out) = &mut self.specification else {
            return Ok(());
        };
        let facts = mtree::Facts { target, digest, xattrs };
        mtree::entry(out, path, inode, &facts).map_err(write(path))
    }

    /// Copies content but what is zeros, and returns its SHA-256 if somebody wants to know.
    fn copy(&mut self, path: &[u8], inode: &Inode, file: &mut File) -> Result<Option<String>, StageReason> {
        let ranges = self.reader.data(inode).map_err(read(path))?;
        let holes = inode.size - ranges.iter().map(|range| range.len).sum::<u64>();
        let mut hash = None;
        if self.specification.is_some() && holes <= MAX_HASHED_HOLES.min(self.hashable_holes) {
            self.hashable_holes -= holes;
            hash = Some(Sha256::new());
        }
        file.set_len(inode.size).map_err(write(path))?;
        let mut end = 0;
        for range in ranges {
            self.hash_zeros(&mut hash, range.start - end)?;
            let mut done = 0;
            while done < range.len {
                self.cancel.check()?;
                let len = usize::try_from(range.len - done).unwrap_or(CHUNK).min(CHUNK);
                let chunk = &mut self.buffer[..len];
                self.reader.read_data(&range, done, chunk).map_err(read(path))?;
                if let Some(hash) = &mut hash {
                    hash.update(&*chunk);
                }
                write_sparsely(file, range.start + done, chunk).map_err(write(path))?;
                done += len as u64;
            }
            end = range.start + range.len;
        }
        self.hash_zeros(&mut hash, inode.size - end)?;
        Ok(hash.map(|hash| hexadecimal(&hash.finalize())))
    }

    fn hash_zeros(&mut self, hash: &mut Option<Sha256>, len: u64) -> Result<(), StageReason> {
        let Some(hash) = hash else { return Ok(()) };
        let mut left = len;
        if left > 0 {
            self.buffer.fill(0);
        }
        while left > 0 {
            self.cancel.check()?;
            let part = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            hash.update(&self.buffer[..part]);
            left -= part as u64;
        }
        Ok(())
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from_digit(digit.into(), 16).expect("four bits are a digit"))
        .collect()
}

/// A path of the image for people.
fn printable(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

fn read(path: &[u8]) -> impl FnOnce(ReadError) -> StageReason {
    move |source| StageReason::Read {
        path: printable(path),
        source,
    }
}

fn write(path: &[u8]) -> impl FnOnce(io::Error) -> StageReason {
    move |source| StageReason::Write {
        path: printable(path),
        source,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use ext4::{Formatter, InodeId, Journal, Kind, Metadata, Options, Size, Tree};
    use tempfile::TempDir;

    use super::*;

    fn formatter() -> Formatter<Vec<u8>> {
        let options = Options {
            size: Size::Fixed(4 << 20),
            journal: Journal::None,
            ..Options::new([7; 16])
        };
        Formatter::new(Vec::new(), options).unwrap()
    }

    /// An image with a directory in a directory, and a file in that.
    pub(in crate::stage) fn image() -> Vec<u8> {
        let mut formatter = formatter();
        let mut tree = Tree::default();
        let mut parent = InodeId::ROOT;
        for name in [&b"outer-directory"[..], b"inner-directory"] {
            let kind = Kind::Directory(ext4::Directory::new());
            parent = tree.insert(parent, name, Metadata::default(), kind).unwrap();
        }
        let data = formatter.write_data(&b"content"[..], 7).unwrap();
        tree.insert(parent, b"file", Metadata::default(), Kind::File(data))
            .unwrap();
        formatter.finish(tree).unwrap().0
    }

    fn export(image: &[u8], directory: &TempDir, cancelled: bool) -> Result<String, StageReason> {
        let reader = Reader::open(Cursor::new(image)).unwrap();
        let root = Root::open(&oci::host::Directory::open(directory.path()).unwrap()).unwrap();
        let mut specification = Vec::new();
        let cancel = Cancel::new();
        if cancelled {
            cancel.cancel();
        }
        let out = Some(&mut specification);
        Exporter::new(&reader, &root, Fidelity::Content, out, &cancel).run()?;
        Ok(String::from_utf8(specification).unwrap())
    }

    /// Gives a block of a directory, which begins with the entry `.`, the right checksum again.
    fn seal_directory(block: &mut [u8]) {
        let (covered, tail) = block.split_at_mut(4096 - 12);
        let sum = [&[7; 16], &covered[..4], &[0; 4], covered]
            .into_iter()
            .fold(0, crc32c::crc32c_append);
        tail[8..].copy_from_slice(&(!sum).to_le_bytes());
    }

    #[test]
    fn a_directory_in_itself_is_refused() {
        let directory = TempDir::new().unwrap();
        let mut image = image();
        let sound = export(&image, &directory, false).unwrap();
        assert!(
            sound.contains("./outer-directory/inner-directory/file type=file"),
            "{sound}"
        );

        let name = image.windows(15).position(|name| name == b"inner-directory").unwrap();
        // The number before the length of the entry, that of the name, and the type: now it is the root's.
        image[name - 8..name - 4].copy_from_slice(&2_u32.to_le_bytes());
        seal_directory(&mut image[name / 4096 * 4096..][..4096]);
        let directory = TempDir::new().unwrap();
        let error = export(&image, &directory, false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the directory \"/outer-directory/inner-directory\" of the image is also elsewhere in it"
        );
    }

    #[test]
    fn what_is_in_the_way_is_not_replaced() {
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("outer-directory"), "precious").unwrap();
        let error = export(&image(), &directory, false).unwrap_err();
        assert!(matches!(error, StageReason::SameName { .. }), "{error}");
        assert_eq!(
            std::fs::read(directory.path().join("outer-directory")).unwrap(),
            b"precious"
        );
    }

    #[test]
    fn whoever_asks_to_stop_is_heard() {
        let error = export(&image(), &TempDir::new().unwrap(), true).unwrap_err();
        assert!(matches!(error, StageReason::Cancelled(_)), "{error}");
    }

    #[test]
    fn holes_are_hashed_as_long_as_they_are_not_too_many() {
        let mut formatter = formatter();
        let mut tree = Tree::default();
        for (name, len) in [
            (&b"first"[..], 6000),
            (b"second", 6000),
            (b"third", 4000),
            (b"without", 0),
        ] {
            let data = formatter.write_sparse(&b""[..], len, &[]).unwrap();
            tree.insert(InodeId::ROOT, name, Metadata::default(), Kind::File(data))
                .unwrap();
        }
        let (image, _) = formatter.finish(tree).unwrap();
        let directory = TempDir::new().unwrap();
        let reader = Reader::open(Cursor::new(&image)).unwrap();
        let root = Root::open(&oci::host::Directory::open(directory.path()).unwrap()).unwrap();
        let mut specification = Vec::new();
        let cancel = Cancel::new();
        let out = Some(&mut specification);
        let mut exporter = Exporter::new(&reader, &root, Fidelity::Content, out, &cancel);
        exporter.hashable_holes = 10_000;
        exporter.run().unwrap();
        let specification = String::from_utf8(specification).unwrap();
        let hashed = |name: &str| {
            let mut lines = specification.lines();
            lines.find(|line| line.contains(name)).unwrap().contains("sha256digest")
        };
        assert_eq!(
            ["first", "second", "third", "without"].map(hashed),
            [true, false, true, true]
        );
    }
}
