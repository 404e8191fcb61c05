//! Looking into a disk image, on any host and without root.

mod content;
mod copy;
mod error;
mod walk;

use std::fs::File;
use std::path::{Path, PathBuf};

use ext4::{Facts, FoundKind, ReadError, Reader, Timestamp};

use crate::provenance::Provenance;
use layer::cancel::{Cancel, Cancellable};
use oci::host::open_disk;

pub use content::Content;
pub use copy::CopyError;
pub use error::{InspectError, InspectReason};
pub use walk::WalkError;

use walk::{Found, walk};

/// A disk image that is looked into.
pub struct Disk {
    path: PathBuf,
    reader: Reader<Cancellable<File>>,
    cancel: Cancel,
}

/// An entry of a directory, or any other file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Its name: any bytes but `/` and NUL.
    pub name: Vec<u8>,
    /// What it is: `file`, `directory`, `symlink`, `character device`, `block device`, `fifo` or `socket`.
    pub kind: &'static str,
    /// Permission, setuid, setgid and sticky bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Last change of the content.
    pub modified: Timestamp,
    /// Target of a symlink.
    pub target: Option<Vec<u8>>,
}

impl Disk {
    /// Opens a disk image, and reads its superblock, and its journal if that was not replayed.
    ///
    /// # Errors
    ///
    /// [`InspectError`] if there is no file, or no file system in it.
    pub fn open(path: &Path) -> Result<Self, InspectError> {
        Self::open_until(path, &Cancel::new())
    }

    /// As [`Disk::open`]. Reading anything of it fails with [`InspectReason::Cancelled`] once it is
    /// cancelled.
    ///
    /// # Errors
    ///
    /// As [`Disk::open`].
    pub fn open_until(path: &Path, cancel: &Cancel) -> Result<Self, InspectError> {
        let open = || {
            let file = open_disk(path).map_err(InspectReason::Open)?;
            Ok(Reader::open(Cancellable::new(file, cancel))?)
        };
        let reader = open().map_err(|reason| InspectError::new(path, reason))?;
        Ok(Self {
            path: path.to_owned(),
            reader,
            cancel: cancel.clone(),
        })
    }

    /// What the superblock says of the whole file system.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.reader.facts()
    }

    /// What the disk image says of where it comes from, if it says anything.
    ///
    /// # Errors
    ///
    /// [`InspectError`] if that is damaged.
    pub fn provenance(&mut self) -> Result<Option<Provenance>, InspectError> {
        let mut provenance = || Ok(Provenance::decode(&self.reader.boot_area()?)?);
        provenance().map_err(|reason| InspectError::new(&self.path, reason))
    }

    /// The entries of a directory but `.` and `..`, ordered by the bytes of their names; of any other file that alone.
    /// Symlinks on the way are followed inside the disk image.
    ///
    /// # Errors
    ///
    /// [`InspectError`] if there is no such path, or the file system is damaged or unknown.
    pub fn list(&mut self, path: &[u8]) -> Result<Vec<Listed>, InspectError> {
        let mut list = || {
            let named = walk(&mut self.reader, path, false)?;
            let directory = match named.inode.kind {
                FoundKind::Symlink => match walk(&mut self.reader, path, true) {
                    Err(WalkError::NotFound | WalkError::NotADirectory | WalkError::TooManySymlinks) => None,
                    target => Some(target?.inode),
                },
                _ => Some(named.inode.clone()),
            };
            let directory = directory.filter(|inode| inode.kind == FoundKind::Directory);
            let Some(directory) = directory else {
                return Ok(vec![listed(&mut self.reader, named)?]);
            };
            let entries = self.reader.entries(&directory)?;
            let entries = entries.into_iter().map(|entry| {
                let inode = self.reader.inode(entry.ino)?;
                let name = entry.name.into_vec();
                listed(&mut self.reader, Found { name, inode })
            });
            Ok(entries.collect::<Result<_, _>>()?)
        };
        list().map_err(|source| at(&self.path, path, source))
    }

    /// The content of a regular file. Symlinks are followed inside the disk image.
    ///
    /// # Errors
    ///
    /// [`InspectError`] if there is no such file, or the file system is damaged or unknown.
    pub fn content(&mut self, path: &[u8]) -> Result<Content<'_>, InspectError> {
        let Self {
            path: image, reader, ..
        } = self;
        let found = walk(reader, path, true).map_err(|source| at(image, path, source))?;
        let content = match found.inode.kind {
            FoundKind::File => Content::new(image, reader, path, &found.inode).map_err(WalkError::Read),
            FoundKind::Directory => Err(WalkError::IsADirectory),
            _ => Err(WalkError::NotAFile),
        };
        content.map_err(|source| at(image, path, source))
    }
}

/// The error that a path of a disk image leads to nothing that serves.
fn at(image: &Path, path: &[u8], source: WalkError) -> InspectError {
    let path = String::from_utf8_lossy(path).into_owned();
    InspectError::new(image, InspectReason::Path { path, source })
}

fn listed(reader: &mut Reader<Cancellable<File>>, Found { name, inode }: Found) -> Result<Listed, ReadError> {
    let target = match inode.kind {
        FoundKind::Symlink => Some(reader.target(&inode)?),
        _ => None,
    };
    Ok(Listed {
        name,
        kind: inode.kind.name(),
        mode: inode.mode,
        uid: inode.uid,
        gid: inode.gid,
        size_bytes: inode.size,
        modified: inode.modified,
        target,
    })
}
