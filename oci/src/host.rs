//! Files and directories of the host, of which other users may have made, replaced or renamed
//! any part.
//!
//! A path says where something was. A descriptor says what it is, and stays with it: so everything
//! here is opened first, then looked at, and used by descriptor from then on.
//!
//! - [`open_file`] and [`open_disk`] open what the user named, without waiting for the other end of
//!   a FIFO, and without touching a device.
//! - A [`Directory`] is reached through no symlink that another user owns. Its entries are opened
//!   through no symlink at all.
//! - A [`NewFile`] gets its name when it is complete, and a [`TempDirectory`] directory when the caller
//!   asks for it. Both prove afterwards that the name is theirs.
//!
//! Windows has no such neighbours as long as nobody grants them access: there, paths are used.

mod directory;
mod entry;
mod new_file;
mod temp_directory;
mod untrusted;

use std::fs::File;
use std::io;
use std::path::Path;

pub use directory::{Access, Directory, parent_of};
pub use entry::{Entry, EntryKind, Identity};
pub use new_file::{NewFile, Replace};
pub use temp_directory::TempDirectory;
pub use untrusted::{Untrusted, io_error_kind};

use layer::failure::Hint;

/// Permission bits of any new file, less the umask.
pub const DEFAULT_FILE_MODE: u32 = 0o666;

/// Opens a regular file for reading.
///
/// # Errors
///
/// Those of open(2), and [`Untrusted::NotAFile`] for everything else that a path can lead to.
pub fn open_file(path: &Path) -> io::Result<File> {
    let file = open_without_waiting(path)?;
    match EntryKind::from_file_type(file.metadata()?.file_type()) {
        EntryKind::File => Ok(file),
        kind => Err(Untrusted::NotAFile(kind).into()),
    }
}

/// Opens a disk image for reading: a regular file, or a block device.
///
/// # Errors
///
/// As [`open_file`].
pub fn open_disk(path: &Path) -> io::Result<File> {
    let file = open_without_waiting(path)?;
    match EntryKind::from_file_type(file.metadata()?.file_type()) {
        EntryKind::File | EntryKind::BlockDevice => Ok(file),
        kind => Err(Untrusted::NotAFile(kind).into()),
    }
}

/// Opens a path. `O_NONBLOCK` means nothing to files and disks, and keeps open(2) from waiting for
/// the writer of a FIFO; `O_NOCTTY` keeps a terminal from becoming this process's own.
#[cfg(unix)]
fn open_without_waiting(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    // Some devices do something when they are opened. The look before spares those that nobody
    // swaps in meanwhile.
    match EntryKind::from_file_type(std::fs::metadata(path)?.file_type()) {
        EntryKind::File | EntryKind::BlockDevice => {}
        kind => return Err(Untrusted::NotAFile(kind).into()),
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(open(path, flags, Mode::empty())?))
}

#[cfg(not(unix))]
fn open_without_waiting(path: &Path) -> io::Result<File> {
    // Windows would only say that access is denied.
    if std::fs::metadata(path)?.is_dir() {
        return Err(Untrusted::NotAFile(EntryKind::Directory).into());
    }
    File::open(path)
}

/// Returns the advice to make the directory of a path.
#[must_use]
pub fn mkdir_hint(path: &Path) -> Hint {
    let directory = path.parent().unwrap_or(path).display();
    format!("make the directory first: mkdir -p {directory}").into()
}

/// Returns advice on a lock that another process holds. `instead` is the advice to use another
/// file.
pub(crate) fn end_lock_holder_hint(lock: &Path, instead: Hint) -> Hint {
    let lock = lock.display();
    Hint::from(format!("end the process that holds it (fuser {lock} shows which), or ")).and(instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_not_a_file() {
        let directory = tempfile::tempdir().unwrap();
        for open in [open_file, open_disk] {
            let error = open(directory.path()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::IsADirectory, "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_fifo_or_device_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        let status = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(status.unwrap().success());
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        for (path, expected) in [
            (&*fifo, "it is a FIFO, not a regular file"),
            (&*link, "it is a FIFO, not a regular file"),
            (Path::new("/dev/null"), "it is a device, not a regular file"),
        ] {
            for open in [open_file, open_disk] {
                assert_eq!(open(path).unwrap_err().to_string(), expected);
            }
        }
    }
}
