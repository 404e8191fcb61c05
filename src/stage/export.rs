//! Export of the tree of a disk image to a directory.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::rc::Rc;

use ext4::read::Inode;
use ext4::{FileType, ReadAt, ReadError, Reader, Xattrs};
use sha2::{Digest as _, Sha256};

use super::StageReason;
use super::confined::{ConfinedDirectory, ConfinedRoot, join};
use super::mtree;
use super::zeros::write_sparsely;
use layer::cancel::Cancel;

/// Bytes copied at once.
const CHUNK: usize = 1 << 20;
/// Maximum number of bytes of holes that are hashed in one file, so that a sparse file costs no
/// time.
const MAX_HASHED_HOLES: u64 = 4 << 30;
/// Maximum number of bytes of holes that are hashed over all files.
const MAX_HASHED_HOLES_IN_ALL: u64 = 64 << 30;

/// Extent to which an exported directory reproduces the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fidelity {
    /// Everything that the current user can create and set.
    Full,
    /// Names, contents, symlink targets and hard links, readable and writable for the current user.
    /// No devices, and no other metadata.
    Content,
}

/// An export in progress.
pub(super) struct Exporter<'a, R, W> {
    reader: &'a Reader<R>,
    root: &'a ConfinedRoot,
    fidelity: Fidelity,
    mtree: Option<W>,
    cancel: &'a Cancel,
    /// Directories whose entries have not been exported yet; the next one is last.
    pending: Vec<SourceDirectory>,
    /// Directories whose entries have been exported, parents before their children.
    created: Vec<SourceDirectory>,
    /// Inode numbers of `pending` and `created` directories.
    visited: HashSet<u32>,
    /// First name of each inode with hard links, by inode number.
    first_links: HashMap<u32, FirstLink>,
    /// Bytes of holes that may still be hashed.
    hashable_holes: u64,
    buffer: Vec<u8>,
}

/// A directory of the image.
#[derive(Clone)]
struct SourceDirectory {
    /// Path relative to the root, with `/` between names.
    path: Rc<[u8]>,
    inode: Rc<Inode>,
}

/// The first exported name of an inode with hard links.
struct FirstLink {
    directory: Rc<[u8]>,
    name: Box<[u8]>,
    created: bool,
    digest: Option<String>,
}

impl<'a, R: ReadAt, W: Write> Exporter<'a, R, W> {
    /// Prepares an export into an empty directory. Writes an mtree description if `mtree` is
    /// `Some`.
    pub(super) fn new(
        reader: &'a Reader<R>,
        root: &'a ConfinedRoot,
        fidelity: Fidelity,
        mtree: Option<W>,
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            reader,
            root,
            fidelity,
            mtree,
            cancel,
            pending: Vec::new(),
            created: Vec::new(),
            visited: HashSet::new(),
            first_links: HashMap::new(),
            hashable_holes: MAX_HASHED_HOLES_IN_ALL,
            buffer: vec![0; CHUNK],
        }
    }

    /// Exports the whole tree.
    pub(super) fn run(mut self) -> Result<(), StageReason> {
        let inode = self.reader.root().map_err(read_error(b""))?;
        if let Some(out) = &mut self.mtree {
            mtree::write_header(out).map_err(write_error(b""))?;
        }
        let xattrs = self.reader.xattrs(&inode).map_err(read_error(b""))?;
        self.write_mtree_entry(b"", &inode, None, None, &xattrs)?;
        self.queue_directory(Rc::from(&b""[..]), inode)?;
        while let Some(directory) = self.pending.pop() {
            self.export_entries(&directory)?;
            self.created.push(directory);
        }
        if self.fidelity == Fidelity::Full {
            // Creating an entry changes the times of its directory, and a directory's mode may
            // forbid creating entries: so directories get their metadata last, deepest first.
            for SourceDirectory { path, inode } in self.created.iter().rev() {
                self.cancel.check()?;
                let xattrs = self.reader.xattrs(inode).map_err(read_error(path))?;
                let describe = || self.root.directory(path)?.set_own_metadata(inode, &xattrs);
                describe().map_err(write_error(path))?;
            }
        }
        if let Some(mut out) = self.mtree {
            out.flush().map_err(write_error(b""))?;
        }
        Ok(())
    }

    fn queue_directory(&mut self, path: Rc<[u8]>, inode: Inode) -> Result<(), StageReason> {
        if !self.visited.insert(inode.ino.get()) {
            return Err(StageReason::SecondDirectory {
                path: display_path(&path),
            });
        }
        let inode = Rc::new(inode);
        self.pending.push(SourceDirectory { path, inode });
        Ok(())
    }

    /// Exports the entries of a directory, and queues its subdirectories.
    fn export_entries(&mut self, parent: &SourceDirectory) -> Result<(), StageReason> {
        let directory = self.root.directory(&parent.path).map_err(write_error(&parent.path))?;
        let entries = self.reader.read_dir(&parent.inode).map_err(read_error(&parent.path))?;
        let mut subdirectories = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            self.cancel.check()?;
            let path: Rc<[u8]> = join(&parent.path, &entry.name).into();
            let inode = self.reader.inode(entry.ino).map_err(read_error(&path))?;
            let made = self.export_entry(&directory, parent, &path, &entry.name, &inode);
            made.map_err(|reason| match reason {
                StageReason::Write { source, path } if source.kind() == io::ErrorKind::AlreadyExists => {
                    let others = entries[..index].iter().map(|entry| &*entry.name);
                    let other = others
                        .into_iter()
                        .find(|other| directory.is_same_entry(other, &entry.name));
                    let other = other.map_or_else(
                        || "another name in the same directory".to_owned(),
                        |other| display_path(&join(&parent.path, other)),
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
            self.queue_directory(path, inode)?;
        }
        Ok(())
    }

    /// Exports an entry and appends its mtree line. The metadata of a directory is set by `run`.
    fn export_entry(
        &mut self,
        directory: &ConfinedDirectory,
        parent: &SourceDirectory,
        path: &[u8],
        name: &[u8],
        inode: &Inode,
    ) -> Result<(), StageReason> {
        let xattrs = self.reader.xattrs(inode).map_err(read_error(path))?;
        let target = match inode.file_type {
            FileType::Symlink => Some(self.reader.read_link(inode).map_err(read_error(path))?),
            _ => None,
        };
        let is_linked = inode.file_type != FileType::Directory && inode.links > 1;
        let mut digest = None;
        if let Some(first) = self.first_links.get(&inode.ino.get()).filter(|_| is_linked) {
            // mke2fs, which copies the directory with this fidelity, takes two names of a symlink
            // for two symlinks.
            let is_wanted = self.fidelity == Fidelity::Full || inode.file_type != FileType::Symlink;
            if first.created && is_wanted {
                let link = || directory.make_link(name, &self.root.directory(&first.directory)?, &first.name);
                link().map_err(write_error(path))?;
            }
            digest.clone_from(&first.digest);
        } else {
            let created = match (inode.file_type, &target) {
                (FileType::Directory, _) => directory.make_directory(name).map(|()| true),
                (FileType::Symlink, Some(target)) => directory.make_symlink(name, target),
                (FileType::RegularFile, _) => {
                    let mut file = directory.make_file(name).map_err(write_error(path))?;
                    digest = self.copy(path, inode, &mut file)?;
                    Ok(true)
                }
                // Without devices, the result is the same for root and other users.
                (FileType::CharacterDevice | FileType::BlockDevice, _) if self.fidelity == Fidelity::Content => {
                    Ok(false)
                }
                _ => directory.make_special(name, inode.file_type, inode.device),
            };
            let created = created.map_err(write_error(path))?;
            if created && inode.file_type != FileType::Directory && self.fidelity == Fidelity::Full {
                directory
                    .set_metadata(name, inode, &xattrs)
                    .map_err(write_error(path))?;
            }
            if is_linked {
                let first = FirstLink {
                    directory: Rc::clone(&parent.path),
                    name: name.into(),
                    created,
                    digest: digest.clone(),
                };
                self.first_links.insert(inode.ino.get(), first);
            }
        }
        self.write_mtree_entry(path, inode, target.as_deref(), digest.as_deref(), &xattrs)
    }

    fn write_mtree_entry(
        &mut self,
        path: &[u8],
        inode: &Inode,
        target: Option<&[u8]>,
        digest: Option<&str>,
        xattrs: &Xattrs,
    ) -> Result<(), StageReason> {
        let Some(out) = &mut self.mtree else {
            return Ok(());
        };
        let details = mtree::MtreeDetails { target, digest, xattrs };
        mtree::write_entry(out, path, inode, &details).map_err(write_error(path))
    }

    /// Copies the content of a file without its zeros. Returns its SHA-256 if there is an mtree
    /// file and the file does not have too many holes.
    fn copy(&mut self, path: &[u8], inode: &Inode, file: &mut File) -> Result<Option<String>, StageReason> {
        let ranges = self.reader.data(inode).map_err(read_error(path))?;
        let holes = inode.size - ranges.iter().map(|range| range.len).sum::<u64>();
        let mut hash = None;
        if self.mtree.is_some() && holes <= MAX_HASHED_HOLES.min(self.hashable_holes) {
            self.hashable_holes -= holes;
            hash = Some(Sha256::new());
        }
        file.set_len(inode.size).map_err(write_error(path))?;
        let mut end = 0;
        for range in ranges {
            self.hash_zeros(&mut hash, range.start - end)?;
            let mut done = 0;
            while done < range.len {
                self.cancel.check()?;
                let len = usize::try_from(range.len - done).unwrap_or(CHUNK).min(CHUNK);
                let chunk = &mut self.buffer[..len];
                self.reader.read_data(&range, done, chunk).map_err(read_error(path))?;
                if let Some(hash) = &mut hash {
                    hash.update(&*chunk);
                }
                write_sparsely(file, range.start + done, chunk).map_err(write_error(path))?;
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

/// Returns an absolute path in the image as text for messages.
fn display_path(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

fn read_error(path: &[u8]) -> impl FnOnce(ReadError) -> StageReason {
    move |source| StageReason::Read {
        path: display_path(path),
        source,
    }
}

fn write_error(path: &[u8]) -> impl FnOnce(io::Error) -> StageReason {
    move |source| StageReason::Write {
        path: display_path(path),
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

    /// Builds an image with a directory, a directory in it, and a file in that.
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
        let root = ConfinedRoot::open(&oci::host::Directory::open(directory.path()).unwrap()).unwrap();
        let mut specification = Vec::new();
        let cancel = Cancel::new();
        if cancelled {
            cancel.cancel();
        }
        let out = Some(&mut specification);
        Exporter::new(&reader, &root, Fidelity::Content, out, &cancel).run()?;
        Ok(String::from_utf8(specification).unwrap())
    }

    /// Corrects the checksum of a directory block that begins with the entry `.`.
    fn seal_directory(block: &mut [u8]) {
        let (covered, tail) = block.split_at_mut(4096 - 12);
        let sum = [&[7; 16], &covered[..4], &[0; 4], covered]
            .into_iter()
            .fold(0, crc32c::crc32c_append);
        tail[8..].copy_from_slice(&(!sum).to_le_bytes());
    }

    #[test]
    fn a_directory_that_contains_itself_is_refused() {
        let directory = TempDir::new().unwrap();
        let mut image = image();
        let sound = export(&image, &directory, false).unwrap();
        assert!(
            sound.contains("./outer-directory/inner-directory/file type=file"),
            "{sound}"
        );

        let name = image.windows(15).position(|name| name == b"inner-directory").unwrap();
        // The inode number is 8 bytes before the name: entry length, name length and type lie
        // between. Now the entry names the root.
        image[name - 8..name - 4].copy_from_slice(&2_u32.to_le_bytes());
        seal_directory(&mut image[name / 4096 * 4096..][..4096]);
        let directory = TempDir::new().unwrap();
        let error = export(&image, &directory, false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the directory \"/outer-directory/inner-directory\" of the image has a second name"
        );
    }

    #[test]
    fn an_existing_file_is_not_replaced() {
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
    fn a_cancelled_export_fails() {
        let error = export(&image(), &TempDir::new().unwrap(), true).unwrap_err();
        assert!(matches!(error, StageReason::Cancelled(_)), "{error}");
    }

    #[test]
    fn holes_are_hashed_up_to_the_limit() {
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
        let root = ConfinedRoot::open(&oci::host::Directory::open(directory.path()).unwrap()).unwrap();
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
