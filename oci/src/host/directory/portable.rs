//! Directories as paths, for systems whose users cannot change each other's files by default.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::Access;
use crate::host::{Entry, EntryKind, Identity, Untrusted};

/// A directory of the host.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Opens a directory.
    ///
    /// # Errors
    ///
    /// Those of the system, and `NotADirectory`.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !fs::metadata(path)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Opens a directory, and creates it and its parents if they are missing. On this system,
    /// without a check of owner and mode.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn open_private(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Self::open(path)
    }

    /// Opens a directory; returns `None` if it is missing. On this system, without a check of owner
    /// and mode.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn find_private(path: &Path) -> io::Result<Option<Self>> {
        match Self::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            directory => directory.map(Some),
        }
    }

    /// Opens the directory that contains a file, and returns it with the file's name there.
    /// Symlinks are followed, even in place of the file. Creates missing directories if `create` is
    /// set. The file may be missing.
    ///
    /// # Errors
    ///
    /// Those of the system, and `IsADirectory` for a path without a last name, such as `/`.
    pub fn containing(path: &Path, create: bool) -> io::Result<(Self, OsString)> {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
        let parent = super::parent_of(&path);
        let directory = if create {
            Self::open_private(parent)?
        } else {
            Self::open(parent)?
        };
        Ok((directory, name))
    }

    /// Opens a subdirectory. Creates it if it is missing and `create` is set.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn private_subdirectory(&self, name: impl AsRef<OsStr>, create: bool) -> io::Result<Self> {
        let path = self.join(name)?;
        if create {
            fs::create_dir_all(&path)?;
        }
        Self::open(&path)
    }

    /// Creates a subdirectory, and opens it.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn create_private_subdirectory(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let path = self.join(name)?;
        fs::create_dir(&path)?;
        Self::open(&path)
    }

    /// Opens a file of the directory.
    ///
    /// # Errors
    ///
    /// Those of the system, and [`Untrusted::NotAFile`].
    pub fn open_file(&self, name: impl AsRef<OsStr>, access: Access) -> io::Result<File> {
        let path = self.join(name)?;
        if let Ok(metadata) = fs::symlink_metadata(&path)
            && !metadata.is_file()
        {
            return Err(Untrusted::NotAFile(EntryKind::from_file_type(metadata.file_type())).into());
        }
        let mut options = File::options();
        options.read(true);
        let options = match access {
            Access::Read | Access::ReadAnyOwner => &mut options,
            Access::Write => options.write(true),
            Access::Create => options.write(true).create(true).truncate(false),
        };
        options.open(path)
    }

    /// Creates a file, open for reading and writing.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn create_new(&self, name: impl AsRef<OsStr>, _mode: u32) -> io::Result<File> {
        let mut options = File::options();
        options.read(true).write(true).create_new(true).open(self.join(name)?)
    }

    /// Returns `None`: this system has no files without a name.
    #[must_use]
    pub fn create_unnamed(&self, _mode: u32) -> Option<File> {
        None
    }

    /// Fails: this system has no files without a name.
    ///
    /// # Errors
    ///
    /// `Unsupported`.
    pub fn link(&self, _file: &File, _name: impl AsRef<OsStr>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Renames an entry, and replaces an entry that has the new name.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: &Self, name: impl AsRef<OsStr>) -> io::Result<()> {
        fs::rename(self.join(from)?, to.join(name)?)
    }

    /// Renames an entry to an unused name.
    ///
    /// # Errors
    ///
    /// Those of the system, and `AlreadyExists`.
    pub fn rename_new(&self, from: impl AsRef<OsStr>, to: &Self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let target = to.join(name)?;
        if fs::symlink_metadata(&target).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(self.join(from)?, target)
    }

    /// Returns `false`: this system cannot exchange two entries.
    ///
    /// # Errors
    ///
    /// None.
    pub fn exchange(&self, _one: impl AsRef<OsStr>, _other: impl AsRef<OsStr>) -> io::Result<bool> {
        Ok(false)
    }

    /// Removes an entry that is not a directory.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        fs::remove_file(self.join(name)?)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn remove_directory(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        fs::remove_dir(self.join(name)?)
    }

    /// Returns an entry; `None` if it is missing.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn entry(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Entry>> {
        match fs::symlink_metadata(self.join(name)?) {
            Ok(metadata) => Ok(Some(Entry {
                kind: EntryKind::from_file_type(metadata.file_type()),
                len: metadata.len(),
                modified: metadata.modified()?,
                identity: Identity,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the kind of an entry; `None` if it is missing.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn kind(&self, name: impl AsRef<OsStr>) -> io::Result<Option<EntryKind>> {
        Ok(self.entry(name)?.map(|entry| entry.kind))
    }

    /// Returns the names of all entries, in any order.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    /// Returns the identity of the directory, which is equal for all directories on this system.
    ///
    /// # Errors
    ///
    /// None.
    pub fn identity(&self) -> io::Result<Identity> {
        Ok(Identity)
    }

    /// Returns an absolute path of the directory.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn stable_path(&self) -> io::Result<PathBuf> {
        std::path::absolute(&self.path)
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of an entry. Refuses a name that is a path.
    fn join(&self, name: impl AsRef<OsStr>) -> io::Result<PathBuf> {
        let name = Path::new(name.as_ref());
        if name.file_name() != Some(name.as_os_str()) {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        Ok(self.path.join(name))
    }
}
