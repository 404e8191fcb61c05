//! Looking into a disk image, on any host and without root.
//!
//! Paths and contents are read by ext4-view, which verifies checksums and reads through a journal that was not replayed;
//! [`ext4::Reader`] tells what it does not: the facts of the superblock, and all that an export needs.

mod error;
mod view;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ext4::{Facts, Reader, Timestamp};
use ext4_view::{Ext4, Ext4Error, Metadata};

use crate::provenance::Provenance;

pub use error::{InspectError, InspectReason};

/// A disk image that is looked into.
pub struct Disk {
    path: PathBuf,
    reader: Reader<File>,
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

/// The content of a file in a disk image.
pub struct Content {
    file: ext4_view::File,
}

impl Disk {
    /// Opens a disk image, and reads its superblock.
    ///
    /// # Errors
    ///
    /// [`InspectError`] if there is no file, or no file system in it.
    pub fn open(path: &Path) -> Result<Self, InspectError> {
        let open = || Ok(Reader::open(File::open(path).map_err(InspectReason::Open)?)?);
        let reader = open().map_err(|reason| InspectError::new(path, reason))?;
        Ok(Self {
            path: path.to_owned(),
            reader,
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
    pub fn list(&self, path: &[u8]) -> Result<Vec<Listed>, InspectError> {
        self.view(path, |view, path| {
            let metadata = view.symlink_metadata(path)?;
            let directory = match view.read_dir(path) {
                Err(Ext4Error::NotADirectory) => None,
                Err(Ext4Error::NotFound | Ext4Error::TooManySymlinks) if metadata.is_symlink() => None,
                directory => Some(directory?),
            };
            let Some(directory) = directory else {
                return Ok(vec![listed(view, path, last_name(path.as_ref()), &metadata)?]);
            };
            let mut entries = Vec::new();
            for entry in directory {
                let entry = entry?;
                let name = entry.file_name();
                if name != b"." && name != b".." {
                    entries.push(listed(view, entry.path().as_path(), name.as_ref(), &entry.metadata()?)?);
                }
            }
            entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
            Ok(entries)
        })
    }

    /// The content of a regular file. Symlinks are followed inside the disk image.
    ///
    /// # Errors
    ///
    /// [`InspectError`] if there is no such file, or the file system is damaged or unknown.
    pub fn content(&self, path: &[u8]) -> Result<Content, InspectError> {
        let file = self.view(path, |view, path| view.open(path))?;
        Ok(Content { file })
    }

    fn view<T>(
        &self,
        path: &[u8],
        look: impl FnOnce(&Ext4, ext4_view::Path<'_>) -> Result<T, Ext4Error>,
    ) -> Result<T, InspectError> {
        let result = view::load(&self.path, &self.reader.superblock_without_value_inodes()).and_then(|view| {
            let absolute = [b"/", path].concat();
            let path = ext4_view::Path::try_from(&absolute[..]);
            let path = path.map_err(|_| Ext4Error::MalformedPath)?;
            look(&view, path)
        });
        result.map_err(|source| {
            let path = String::from_utf8_lossy(path).into_owned();
            InspectError::new(&self.path, InspectReason::View { path, source })
        })
    }
}

impl Content {
    /// Size in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.file.metadata().len()
    }

    /// Permission, setuid, setgid and sticky bits.
    #[must_use]
    pub fn mode(&self) -> u16 {
        self.file.metadata().mode()
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.file.read_bytes(buffer)?)
    }
}

fn last_name(path: &[u8]) -> &[u8] {
    let name = path.split(|&byte| byte == b'/').rfind(|name| !name.is_empty());
    name.unwrap_or(b"/")
}

fn listed(view: &Ext4, path: ext4_view::Path<'_>, name: &[u8], metadata: &Metadata) -> Result<Listed, Ext4Error> {
    let target = if metadata.is_symlink() {
        Some(view.read_link(path)?.as_ref().to_vec())
    } else {
        None
    };
    Ok(Listed {
        name: name.to_vec(),
        kind: kind_name(metadata.file_type()),
        mode: metadata.mode(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        size_bytes: metadata.len(),
        modified: Timestamp::saturating(metadata.modified().seconds(), metadata.modified().nanoseconds()),
        target,
    })
}

fn kind_name(kind: ext4_view::FileType) -> &'static str {
    use ext4_view::FileType;
    match kind {
        FileType::Regular => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::CharacterDevice => "character device",
        FileType::BlockDevice => "block device",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    }
}
