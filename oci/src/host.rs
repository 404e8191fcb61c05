//! Access to files and directories of the host, safe from other users of the same machine.
//!
//! Another user may create, replace or rename any part of a path between two system calls. So these
//! rules hold:
//!
//! 1. Open first, then check the open descriptor with fstat(2), and use only the descriptor from
//!    then on. A check before the opening only improves the error, and spares devices.
//! 2. [`open_file`] and [`open_disk`] open a path that the user named. They follow symlinks, never
//!    wait for the other end of a FIFO, and refuse devices, except that `open_disk` accepts block
//!    devices.
//! 3. [`Directory::open`] and its variants follow only symlinks of this user and of root. This
//!    needs Linux; other systems follow every symlink on the way.
//! 4. Entries of a [`Directory`] are opened by name, never by path, and never through a symlink.
//! 5. The private variants, and [`Directory::open_file`] unless [`Access::ReadAnyOwner`] is given,
//!    refuse a directory or file that another user owns or can write to. Root may own it. Nothing
//!    is repaired.
//! 6. A new file or directory gets a random hidden name, or none, and its real name only when it is
//!    complete ([`NewFile`], [`TempDirectory`]). After each rename, the identity of the entry is
//!    compared with the descriptor's, and another one is an error ([`Untrusted::Replaced`]).
//!
//! A refusal is an [`Untrusted`] inside of an [`io::Error`]. To add one, add its variant, its hint,
//! and its kind in `host/untrusted.rs`.
//!
//! Windows uses paths: by default, its users cannot change each other's files.

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

/// Permission bits of a new file without secrets, less the umask.
pub const DEFAULT_FILE_MODE: u32 = 0o666;

/// Opens a regular file for reading.
///
/// # Errors
///
/// Those of open(2), and [`Untrusted::NotAFile`] if the path does not lead to a regular file.
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
/// Those of open(2), and [`Untrusted::NotAFile`] if the path leads to neither of them.
pub fn open_disk(path: &Path) -> io::Result<File> {
    let file = open_without_waiting(path)?;
    match EntryKind::from_file_type(file.metadata()?.file_type()) {
        EntryKind::File | EntryKind::BlockDevice => Ok(file),
        kind => Err(Untrusted::NotAFile(kind).into()),
    }
}

/// Opens a path for reading. `O_NONBLOCK` keeps open(2) from waiting for the writer of a FIFO, and
/// has no effect on files and disks. `O_NOCTTY` keeps a terminal from becoming the controlling
/// terminal of this process.
#[cfg(unix)]
fn open_without_waiting(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    // Opening some devices has an effect. This check spares a device at the path, unless it is
    // swapped in after the check.
    match EntryKind::from_file_type(std::fs::metadata(path)?.file_type()) {
        EntryKind::File | EntryKind::BlockDevice => {}
        kind => return Err(Untrusted::NotAFile(kind).into()),
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(open(path, flags, Mode::empty())?))
}

#[cfg(not(unix))]
fn open_without_waiting(path: &Path) -> io::Result<File> {
    // Windows reports a directory as "access is denied".
    if std::fs::metadata(path)?.is_dir() {
        return Err(Untrusted::NotAFile(EntryKind::Directory).into());
    }
    File::open(path)
}

/// Returns the advice to create the parent directory of a path.
#[must_use]
pub fn mkdir_hint(path: &Path) -> Hint {
    let directory = path.parent().unwrap_or(path).display();
    format!("make the directory first: mkdir -p {directory}").into()
}

/// Returns the advice to end the process that holds a lock, followed by `instead` as the
/// alternative.
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
