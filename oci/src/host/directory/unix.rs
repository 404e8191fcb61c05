//! Directories as descriptors, used with the system calls that take a descriptor and a name:
//! openat(2), renameat(2), and others.

mod path_walk;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, RawMode, Stat};
use rustix::io::Errno;

use super::Access;
use crate::host::{Entry, EntryKind, Identity, Untrusted};

/// Flags for opening a directory. With `O_PATH`, which Linux has, that needs no read permission.
#[cfg(target_os = "linux")]
const OPEN_FLAGS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const OPEN_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

/// Permission bits that let other users change a file, or the entries of a directory.
const WRITABLE_FOR_OTHERS: u32 = 0o022;
/// All permission bits.
const PERMISSIONS: u32 = 0o7777;

/// Attempts to open or create a file that another process keeps creating and removing.
const OPEN_ATTEMPTS: usize = 10;

/// A directory of the host. It stays the same directory if its path is renamed or replaced.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory of any owner.
    ///
    /// # Errors
    ///
    /// Those of open(2); on Linux [`Untrusted::Link`] if a symlink on the way belongs to neither
    /// this user nor root.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            fd: path_walk::open(path, false)?,
            path: path.to_owned(),
        })
    }

    /// Opens a directory that no other user can change. Creates it and its parents with mode 0700
    /// if they are missing.
    ///
    /// # Errors
    ///
    /// As [`Directory::open`], and [`Untrusted::Owner`] and [`Untrusted::Writable`].
    pub fn open_private(path: &Path) -> io::Result<Self> {
        let directory = Self {
            fd: path_walk::open(path, true)?,
            path: path.to_owned(),
        };
        check_trusted(&fs::fstat(&directory.fd)?)?;
        Ok(directory)
    }

    /// Opens a directory that no other user can change; returns `None` if it is missing.
    ///
    /// # Errors
    ///
    /// As [`Directory::open_private`].
    pub fn find_private(path: &Path) -> io::Result<Option<Self>> {
        match Self::open(path) {
            Ok(directory) => {
                check_trusted(&fs::fstat(&directory.fd)?)?;
                Ok(Some(directory))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the directory that contains a file, and returns it with the file's name there.
    /// Symlinks are followed, even in place of the file. Creates missing directories with mode 0700
    /// if `create` is set. The file may be missing.
    ///
    /// # Errors
    ///
    /// As [`Directory::open`], and `IsADirectory` for a path without a last name, such as `/`.
    pub fn containing(path: &Path, create: bool) -> io::Result<(Self, OsString)> {
        let (fd, path) = path_walk::open_parent(path, create)?;
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
        let path = super::parent_of(&path).to_owned();
        Ok((Self { fd, path }, name))
    }

    /// Opens a subdirectory that no other user can change. Creates it with mode 0700 if it is
    /// missing and `create` is set.
    ///
    /// # Errors
    ///
    /// As [`Directory::open_private`], and [`Untrusted::Symlink`].
    pub fn private_subdirectory(&self, name: impl AsRef<OsStr>, create: bool) -> io::Result<Self> {
        let name = check_name(name.as_ref())?;
        if create {
            match fs::mkdirat(&self.fd, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let directory = self.subdirectory(name)?;
        check_trusted(&fs::fstat(&directory.fd)?)?;
        Ok(directory)
    }

    /// Creates a subdirectory that only this user can enter, and opens it.
    ///
    /// # Errors
    ///
    /// Those of mkdir(2), and [`Untrusted::Replaced`] if another directory takes its place before
    /// it is opened.
    pub fn create_private_subdirectory(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = check_name(name.as_ref())?;
        fs::mkdirat(&self.fd, name, Mode::RWXU)?;
        let made = self.open_created(name);
        if made.is_err() {
            // This removes an empty directory only.
            let _ = self.remove_directory(name);
        }
        made
    }

    /// Opens a subdirectory that was just created, and checks that it is empty and this user's.
    fn open_created(&self, name: &OsStr) -> io::Result<Self> {
        let directory = self.subdirectory(name)?;
        let stat = fs::fstat(&directory.fd)?;
        check_trusted(&stat)?;
        if !directory.names()?.is_empty() {
            return Err(Untrusted::Replaced.into());
        }
        if raw_mode(&stat) & 0o777 != 0o700 {
            // The directory is another one of this user's, or the file system has no modes; then
            // the change has no effect.
            let _ = fs::fchmod(directory.readable()?, Mode::RWXU);
        }
        Ok(directory)
    }

    /// Opens a subdirectory, but no symlink.
    fn subdirectory(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OPEN_FLAGS | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let path = self.path.join(name);
        match fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(Errno::LOOP) => Err(Untrusted::Symlink.into()),
            Err(Errno::NOTDIR) if self.kind(name)? == Some(EntryKind::Symlink) => Err(Untrusted::Symlink.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a regular file of the directory that no other user can change. With
    /// [`Access::ReadAnyOwner`], the owner and the mode do not matter.
    ///
    /// # Errors
    ///
    /// Those of open(2), and each [`Untrusted`] but `Link` and `Replaced`.
    pub fn open_file(&self, name: impl AsRef<OsStr>, access: Access) -> io::Result<File> {
        let name = check_name(name.as_ref())?;
        // Another process may create or remove the file between two calls.
        for _ in 1..OPEN_ATTEMPTS {
            match self.open_existing(name, access) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && access == Access::Create => {}
                result => return result,
            }
            match self.create_new(name, 0o600) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => return result,
            }
        }
        self.open_existing(name, access)
    }

    fn open_existing(&self, name: &OsStr, access: Access) -> io::Result<File> {
        // Opening some devices has an effect, and an error of open(2) does not name the owner of
        // the file.
        if let Some(stat) = self.stat(name)? {
            check_file(&stat, access)?;
        }
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let flags = flags
            | match access {
                Access::Read | Access::ReadAnyOwner => OFlags::RDONLY,
                Access::Write | Access::Create => OFlags::RDWR,
            };
        let file = match fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::LOOP) => return Err(Untrusted::Symlink.into()),
            Err(error) => return Err(error.into()),
        };
        check_file(&fs::fstat(&file)?, access)?;
        Ok(file)
    }

    /// Creates a file, open for reading and writing. `mode` is applied less the umask.
    ///
    /// # Errors
    ///
    /// Those of open(2). `AlreadyExists` if the name belongs to any entry, even a symlink.
    pub fn create_new(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        let name = check_name(name.as_ref())?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(fs::openat(&self.fd, name, flags, to_mode(mode))?))
    }

    /// Creates a file without a name (`O_TMPFILE`). Returns `None` if the file system does not
    /// support it, or if the file could not get a name later because `/proc` is missing.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn create_unnamed(&self, mode: u32) -> Option<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(fs::openat(&self.fd, ".", flags, to_mode(mode)).ok()?);
        descriptor_path(&file).exists().then_some(file)
    }

    /// Returns `None`: this system has no files without a name.
    #[cfg(not(target_os = "linux"))]
    #[must_use]
    pub fn create_unnamed(&self, _mode: u32) -> Option<File> {
        None
    }

    /// Gives an unused name to a file without a name.
    ///
    /// # Errors
    ///
    /// Those of linkat(2), such as `AlreadyExists`.
    #[cfg(target_os = "linux")]
    pub fn link(&self, file: &File, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = check_name(name.as_ref())?;
        let from = descriptor_path(file);
        Ok(fs::linkat(fs::CWD, from, &self.fd, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// Fails: this system has no files without a name.
    ///
    /// # Errors
    ///
    /// `Unsupported`.
    #[cfg(not(target_os = "linux"))]
    pub fn link(&self, _file: &File, _name: impl AsRef<OsStr>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Renames an entry, and replaces an entry that has the new name.
    ///
    /// # Errors
    ///
    /// Those of rename(2).
    pub fn rename(&self, from: impl AsRef<OsStr>, to: &Self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let (from, name) = (check_name(from.as_ref())?, check_name(name.as_ref())?);
        Ok(fs::renameat(&self.fd, from, &to.fd, name)?)
    }

    /// Renames an entry to an unused name.
    ///
    /// On a file system without `RENAME_NOREPLACE`, the name is checked first, and an entry that
    /// appears between the check and the rename is replaced.
    ///
    /// # Errors
    ///
    /// Those of rename(2), and `AlreadyExists`.
    pub fn rename_new(&self, from: impl AsRef<OsStr>, to: &Self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let (from, name) = (check_name(from.as_ref())?, check_name(name.as_ref())?);
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        match fs::renameat_with(&self.fd, from, &to.fd, name, fs::RenameFlags::NOREPLACE) {
            // Old kernels and some file systems do not support this flag.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            result => return Ok(result?),
        }
        match to.kind(name)? {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => Ok(fs::renameat(&self.fd, from, &to.fd, name)?),
        }
    }

    /// Exchanges two entries in one step. Returns `false` if the file system does not support it.
    ///
    /// # Errors
    ///
    /// Those of renameat2(2).
    pub fn exchange(&self, one: impl AsRef<OsStr>, other: impl AsRef<OsStr>) -> io::Result<bool> {
        let (one, other) = (check_name(one.as_ref())?, check_name(other.as_ref())?);
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        match fs::renameat_with(&self.fd, one, &self.fd, other, fs::RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            result => return Ok(result.map(|()| true)?),
        }
        let _ = (one, other);
        Ok(false)
    }

    /// Removes an entry that is not a directory.
    ///
    /// # Errors
    ///
    /// Those of unlink(2).
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(fs::unlinkat(&self.fd, check_name(name.as_ref())?, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// Those of rmdir(2).
    pub fn remove_directory(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(fs::unlinkat(&self.fd, check_name(name.as_ref())?, AtFlags::REMOVEDIR)?)
    }

    /// Returns an entry; `None` if it is missing.
    ///
    /// # Errors
    ///
    /// Those of stat(2).
    pub fn entry(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Entry>> {
        Ok(self.stat(check_name(name.as_ref())?)?.map(|stat| Entry {
            kind: entry_kind(&stat),
            len: u64::try_from(stat.st_size).unwrap_or(0),
            modified: modified(&stat),
            identity: Identity(stat),
        }))
    }

    /// Returns the kind of an entry; `None` if it is missing.
    ///
    /// # Errors
    ///
    /// Those of stat(2).
    pub fn kind(&self, name: impl AsRef<OsStr>) -> io::Result<Option<EntryKind>> {
        Ok(self.stat(check_name(name.as_ref())?)?.map(|stat| entry_kind(&stat)))
    }

    /// Returns the identity of the directory.
    ///
    /// # Errors
    ///
    /// Those of fstat(2).
    pub fn identity(&self) -> io::Result<Identity> {
        Ok(Identity(fs::fstat(&self.fd)?))
    }

    fn stat(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the names of all entries, in any order.
    ///
    /// # Errors
    ///
    /// Those of open(2) and readdir(3).
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::new(self.readable()?)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        Ok(names)
    }

    /// Opens the directory again, with a descriptor that can read its entries and change its mode.
    ///
    /// # Errors
    ///
    /// Those of open(2).
    pub fn readable(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(fs::openat(&self.fd, ".", flags, Mode::empty())?)
    }

    /// Returns a path that leads to this very directory, for programs that run in it. On Linux, it
    /// is a path in `/proc/self/fd`, which stays right if the directory is renamed. Without
    /// `/proc`, and on other systems, it is the absolute path.
    ///
    /// # Errors
    ///
    /// [`Untrusted::Owner`] and [`Untrusted::Writable`] of the parent directory if the absolute
    /// path is used, since another user could then put another directory in its place.
    pub fn stable_path(&self) -> io::Result<PathBuf> {
        let path = descriptor_path(&self.fd);
        if path.is_dir() {
            return Ok(path);
        }
        check_trusted(&fs::statat(&self.fd, "..", AtFlags::empty())?)?;
        std::path::absolute(&self.path)
    }

    /// Returns the path by which the directory was opened, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Refuses a text that is not the name of an entry.
fn check_name(name: &OsStr) -> io::Result<&OsStr> {
    match name.as_bytes() {
        b"" | b"." | b".." => Err(io::ErrorKind::InvalidFilename.into()),
        bytes if bytes.contains(&b'/') => Err(io::ErrorKind::InvalidFilename.into()),
        _ => Ok(name),
    }
}

/// Refuses an entry that is not a regular file, and a file that another user owns or can change
/// unless `access` allows it.
fn check_file(stat: &Stat, access: Access) -> io::Result<()> {
    match entry_kind(stat) {
        EntryKind::File if access == Access::ReadAnyOwner => Ok(()),
        EntryKind::File => check_trusted(stat),
        EntryKind::Symlink => Err(Untrusted::Symlink.into()),
        kind => Err(Untrusted::NotAFile(kind).into()),
    }
}

/// Refuses a file or directory that another user owns or can change. Root may own it, since nothing
/// is safe from root.
fn check_trusted(stat: &Stat) -> io::Result<()> {
    let user = rustix::process::geteuid().as_raw();
    let (owner, mode) = (stat.st_uid, raw_mode(stat) & PERMISSIONS);
    if owner != user && owner != 0 {
        return Err(Untrusted::Owner { owner, mode, user }.into());
    }
    if mode & WRITABLE_FOR_OTHERS != 0 {
        return Err(Untrusted::Writable { owner, mode }.into());
    }
    Ok(())
}

#[allow(clippy::useless_conversion, reason = "its type differs between systems")]
fn raw_mode(stat: &Stat) -> u32 {
    u32::from(stat.st_mode)
}

#[allow(clippy::cast_possible_truncation, reason = "permission bits, which are 16 on macOS")]
fn to_mode(mode: u32) -> Mode {
    Mode::from_raw_mode(mode as RawMode)
}

fn entry_kind(stat: &Stat) -> EntryKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        FileType::BlockDevice => EntryKind::BlockDevice,
        FileType::CharacterDevice => EntryKind::CharDevice,
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        FileType::Unknown => EntryKind::Other,
    }
}

#[allow(clippy::useless_conversion, reason = "their types differ between systems")]
/// Returns the modification time of a file.
fn modified(stat: &Stat) -> SystemTime {
    let nanoseconds = Duration::from_nanos(u64::try_from(stat.st_mtime_nsec).unwrap_or(0));
    let seconds = Duration::from_secs(stat.st_mtime.unsigned_abs());
    let second = if stat.st_mtime < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    let second = second.unwrap_or(SystemTime::UNIX_EPOCH);
    second.checked_add(nanoseconds).unwrap_or(second)
}

/// Returns the path in `/proc` of an open file or directory of this process.
fn descriptor_path(file: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests;
