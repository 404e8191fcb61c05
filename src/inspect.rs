//! Looking into a disk image, on any host and without root.

mod content;
mod copy;
mod error;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use ext4::read::{Follow, Inode, LookupError, SuperblockInfo};
use ext4::{FileType, ReadAt, ReadError, Reader};
use tracing::debug;

use crate::provenance::Provenance;
use layer::cancel::{Cancel, Cancellable};
use oci::host::open_disk;

pub use content::Content;
pub use copy::CopyError;
pub use error::{InspectError, InspectReason};

/// A disk image that is looked into.
pub struct Disk {
    path: PathBuf,
    reader: Reader<Cancellable<File>>,
    cancel: Cancel,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Disk");
        shown.field("path", &self.path).finish_non_exhaustive()
    }
}

/// An entry of a directory, or any other file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Listed {
    /// Its name: any bytes but `/` and NUL.
    pub name: Vec<u8>,
    /// Its inode: type, mode, owner, size, links, times, device.
    pub inode: Inode,
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
        debug!(image = %path.display(), "opened the file system");
        Ok(Self {
            path: path.to_owned(),
            reader,
            cancel: cancel.clone(),
        })
    }

    /// Returns the reader of its file system, for all that is not here: extended attributes, walks,
    /// files by their number.
    #[must_use]
    pub fn reader(&self) -> &Reader<impl ReadAt + use<>> {
        &self.reader
    }

    /// Returns what the superblock says of the whole file system.
    #[must_use]
    pub fn info(&self) -> SuperblockInfo {
        self.reader.info()
    }

    /// What the disk image says of where it comes from, if it says anything.
    ///
    /// # Errors
    ///
    /// [`InspectError`] if that is damaged.
    pub fn provenance(&self) -> Result<Option<Provenance>, InspectError> {
        let provenance = || Ok(Provenance::decode(&self.reader.boot_area()?)?);
        provenance().map_err(|reason| InspectError::new(&self.path, reason))
    }

    /// Lists a directory without `.` and `..`, ordered by the bytes of the names; of any other file
    /// that alone. Symlinks on the way are followed inside the disk image.
    ///
    /// # Errors
    ///
    /// [`InspectError`] if there is no such path, or the file system is damaged or unknown.
    pub fn list(&self, path: &[u8]) -> Result<Vec<Listed>, InspectError> {
        let list = || {
            let named = self.reader.lookup(path, Follow::No)?;
            let directory = match named.file_type {
                FileType::Symlink => match self.reader.lookup(path, Follow::Yes) {
                    Err(LookupError::Read(error)) => return Err(error.into()),
                    target => target.ok(),
                },
                _ => Some(named.clone()),
            };
            let Some(directory) = directory.filter(Inode::is_directory) else {
                let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
                return Ok(vec![self.listed(name.to_vec(), named)?]);
            };
            let entries = self.reader.read_dir(&directory)?.into_iter();
            let entries = entries.map(|entry| self.listed(entry.name.into_vec(), self.reader.inode(entry.ino)?));
            Ok(entries.collect::<Result<_, _>>()?)
        };
        list().map_err(|source| at(&self.path, path, source))
    }

    /// Opens a regular file. Symlinks are followed inside the disk image.
    ///
    /// # Errors
    ///
    /// [`InspectError`] if there is no such file, or the file system is damaged or unknown.
    pub fn content(&self, path: &[u8]) -> Result<Content<'_>, InspectError> {
        let file = self.reader.open_file(path);
        let file = file.map_err(|source| at(&self.path, path, source))?;
        Ok(Content::new(&self.path, path, file))
    }

    fn listed(&self, name: Vec<u8>, inode: Inode) -> Result<Listed, ReadError> {
        let target = match inode.file_type {
            FileType::Symlink => Some(self.reader.read_link(&inode)?),
            _ => None,
        };
        Ok(Listed { name, inode, target })
    }
}

/// The error that a path of a disk image leads to nothing that serves.
fn at(image: &Path, path: &[u8], source: LookupError) -> InspectError {
    let path = String::from_utf8_lossy(path).into_owned();
    InspectError::new(image, InspectReason::Path { path, source })
}
