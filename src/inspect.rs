//! Inspection of a disk image, on any host and without root. The image is a file or any [`ReadAt`].
//!
//! ```
//! use std::io::Read as _;
//!
//! use microagent::Cancel;
//! use microagent::ext4::Size;
//! use microagent::inspect::DiskImage;
//! use microagent::rootfs::{BuildOptions, build_into};
//!
//! let mut options = BuildOptions::new("oci:examples/hello:latest".parse()?);
//! options.allow_mutable = true;
//! options.platform = "linux/amd64".parse()?;
//! options.file_system.size = Size::Fixed(16 << 20);
//! let mut image = Vec::new();
//! build_into(&options, &mut image, &Cancel::new())?;
//!
//! // A disk image owns its reader, which here is a reference.
//! let disk = DiskImage::new(&image)?;
//! let mut text = String::new();
//! disk.content(b"/etc/motd")?.read_to_string(&mut text)?;
//! assert!(!text.is_empty());
//! let names = disk.list(b"/etc")?;
//! assert!(names.iter().any(|entry| entry.name == b"motd"));
//! // What `microagent rootfs inspect --json` prints.
//! println!("{}", serde_json::to_string(&disk.summary()?)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod content;
mod copy;
mod error;
mod listed_entry;
mod summary;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ext4::read::{self, Follow, Inode, LookupError, SuperblockInfo};
use ext4::{FileType, ReadAt, ReadError, Reader};
use tracing::debug;

use crate::provenance::Provenance;
use layer::cancel::{Cancel, Cancellable};
use oci::host::open_disk;

pub use content::FileContent;
pub use copy::CopyError;
pub use error::{InspectError, InspectReason};
pub use listed_entry::ListedEntry;
pub use summary::DiskSummary;

/// A disk image, open for reading.
pub struct DiskImage<R = File> {
    path: Option<PathBuf>,
    reader: Arc<Reader<Cancellable<R>>>,
    cancel: Cancel,
}

impl<R> fmt::Debug for DiskImage<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("DiskImage");
        shown.field("path", &self.path).finish_non_exhaustive()
    }
}

impl DiskImage {
    /// Opens a disk image. Reads the superblock and, if the journal needs recovery, the journal.
    ///
    /// # Errors
    ///
    /// [`InspectError`] if the file cannot be opened, or does not hold an ext4 file system.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, InspectError> {
        Self::open_until(path, &Cancel::new())
    }

    /// Opens a disk image like [`DiskImage::open`]. Once `cancel` is set, all reads fail with
    /// [`InspectReason::Cancelled`].
    ///
    /// # Errors
    ///
    /// The errors of [`DiskImage::open`].
    pub fn open_until(path: impl AsRef<Path>, cancel: &Cancel) -> Result<Self, InspectError> {
        let path = path.as_ref();
        let file = open_disk(path).map_err(|error| InspectError::new(Some(path), InspectReason::Open(error)))?;
        Self::read(file, Some(path), cancel)
    }
}

impl<R: ReadAt> DiskImage<R> {
    /// Opens a disk image in memory, in a part of a file, or behind any other [`ReadAt`]. Reads the
    /// superblock and, if the journal needs recovery, the journal.
    ///
    /// # Errors
    ///
    /// [`InspectError`] if the reader fails, or does not hold an ext4 file system.
    pub fn new(reader: R) -> Result<Self, InspectError> {
        Self::new_until(reader, &Cancel::new())
    }

    /// Opens a disk image like [`DiskImage::new`]. Once `cancel` is set, all reads fail with
    /// [`InspectReason::Cancelled`].
    ///
    /// # Errors
    ///
    /// The errors of [`DiskImage::new`].
    pub fn new_until(reader: R, cancel: &Cancel) -> Result<Self, InspectError> {
        Self::read(reader, None, cancel)
    }

    fn read(reader: R, path: Option<&Path>, cancel: &Cancel) -> Result<Self, InspectError> {
        let reader = Reader::open(Cancellable::new(reader, cancel));
        let reader = reader.map_err(|error| InspectError::new(path, error.into()))?;
        if let Some(path) = path {
            debug!(image = %path.display(), "opened the file system");
        }
        Ok(Self {
            path: path.map(Path::to_owned),
            reader: Arc::new(reader),
            cancel: cancel.clone(),
        })
    }

    /// Returns the reader of the file system, for what this type does not cover: extended
    /// attributes, walks through the tree, and inodes by number.
    #[must_use]
    pub fn reader(&self) -> &Reader<impl ReadAt + use<R>> {
        &self.reader
    }

    /// Returns the facts in the superblock: size, free space, label, UUID, features.
    #[must_use]
    pub fn info(&self) -> SuperblockInfo {
        self.reader.info()
    }

    /// Reads the record of the container image that the disk image was built from. Returns `None`
    /// if the disk image has no such record.
    ///
    /// # Errors
    ///
    /// [`InspectError`] if the record is damaged or cannot be read.
    pub fn provenance(&self) -> Result<Option<Provenance>, InspectError> {
        let provenance = || Ok(Provenance::decode(&self.reader.boot_area()?)?);
        provenance().map_err(|reason| InspectError::new(self.path.as_deref(), reason))
    }

    /// Lists the entries of a directory without `.` and `..`, ordered by the bytes of their names.
    /// For any other file, returns that file alone. Symlinks are followed inside the disk image.
    ///
    /// # Errors
    ///
    /// [`InspectError`] if the path does not exist, or if the file system is damaged or
    /// unsupported.
    pub fn list(&self, path: &[u8]) -> Result<Vec<ListedEntry>, InspectError> {
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
                return Ok(vec![self.listed_entry(name.to_vec(), named)?]);
            };
            let entries = self.reader.read_dir(&directory)?.into_iter();
            let entries = entries.map(|entry| self.listed_entry(entry.name.into_vec(), self.reader.inode(entry.ino)?));
            Ok(entries.collect::<Result<_, _>>()?)
        };
        list().map_err(|source| path_error(self.path.as_deref(), path, source))
    }

    /// Opens a regular file with a position of its own. Symlinks are followed inside the disk
    /// image.
    ///
    /// # Errors
    ///
    /// [`InspectError`] if the path does not name a regular file, or if the file system is damaged
    /// or unsupported.
    pub fn content(&self, path: &[u8]) -> Result<FileContent<R>, InspectError> {
        let open = || {
            // `open_file` returns a file that borrows the reader; this one has to own a share of
            // it.
            let inode = self.reader.open_file(path)?.inode().clone();
            Ok(read::File::new(Arc::clone(&self.reader), &inode)?)
        };
        let file = open().map_err(|source| path_error(self.path.as_deref(), path, source))?;
        Ok(FileContent::new(self.path.clone(), path, file))
    }

    fn listed_entry(&self, name: Vec<u8>, inode: Inode) -> Result<ListedEntry, ReadError> {
        let target = match inode.file_type {
            FileType::Symlink => Some(self.reader.read_link(&inode)?),
            _ => None,
        };
        Ok(ListedEntry { name, inode, target })
    }
}

/// Returns the error about a path in a disk image.
fn path_error(image: Option<&Path>, path: &[u8], source: LookupError) -> InspectError {
    let path = String::from_utf8_lossy(path).into_owned();
    InspectError::new(image, InspectReason::Path { path, source })
}
