//! Confinement by making nothing but files and directories, under names that mean nothing else.

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ext4::read::Inode;
use ext4::{Device, FileType, Xattrs};

use super::{check, components};

/// The directory that nothing leads out of.
#[derive(Debug)]
pub(in crate::stage) struct Root(PathBuf);

/// A directory in it.
pub(in crate::stage) struct Directory(PathBuf);

impl Root {
    /// Takes a directory of the host.
    pub(in crate::stage) fn open(directory: &oci::host::Directory) -> io::Result<Self> {
        // On Windows this gives the form in which long paths work.
        Ok(Self(fs::canonicalize(directory.path())?))
    }

    /// A directory that was made in it.
    pub(in crate::stage) fn directory(&self, path: &[u8]) -> io::Result<Directory> {
        let mut directory = self.0.clone();
        for name in components(path) {
            directory.push(file_name(name)?);
        }
        Ok(Directory(directory))
    }

    /// Removes all that is in it, where possible: nothing is locked or too deep here.
    pub(in crate::stage) fn clear(&self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let path = entry.path();
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
    }
}

impl Directory {
    /// Makes a directory.
    pub(in crate::stage) fn make_directory(&self, name: &[u8]) -> io::Result<()> {
        fs::create_dir(self.0.join(file_name(name)?))
    }

    /// Makes an empty file.
    pub(in crate::stage) fn make_file(&self, name: &[u8]) -> io::Result<File> {
        let path = self.0.join(file_name(name)?);
        File::options().write(true).create_new(true).open(path)
    }

    /// Symlinks are a privilege here, and lead elsewhere than in the image.
    #[expect(clippy::unused_self, reason = "Unix has more to do")]
    pub(in crate::stage) fn make_symlink(&self, name: &[u8], _target: &[u8]) -> io::Result<bool> {
        file_name(name).map(|_| false)
    }

    /// There are no devices, pipes and sockets among files here.
    #[expect(clippy::unused_self, reason = "Unix has more to do")]
    pub(in crate::stage) fn make_special(
        &self,
        name: &[u8],
        _file_type: FileType,
        _device: Option<Device>,
    ) -> io::Result<bool> {
        file_name(name).map(|_| false)
    }

    /// Gives a file another name.
    pub(in crate::stage) fn make_link(&self, name: &[u8], other: &Self, other_name: &[u8]) -> io::Result<()> {
        fs::hard_link(other.0.join(file_name(other_name)?), self.0.join(file_name(name)?))
    }

    /// Whether two names are the same here, which takes no notice of case.
    #[expect(clippy::unused_self, reason = "Unix has more to do")]
    pub(in crate::stage) fn are_same(&self, one: &[u8], other: &[u8]) -> bool {
        let folded = |name| String::from_utf8_lossy(name).to_lowercase();
        folded(one) == folded(other)
    }

    /// Sets the time of a file.
    pub(in crate::stage) fn describe(&self, name: &[u8], inode: &Inode, _xattrs: &Xattrs) -> io::Result<()> {
        let seconds = Duration::from_secs(inode.modified.seconds().unsigned_abs());
        let second = if inode.modified.seconds() < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(seconds)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(seconds)
        };
        let nanoseconds = Duration::from_nanos(inode.modified.nanoseconds().into());
        let Some(time) = second.and_then(|second| second.checked_add(nanoseconds)) else {
            return Ok(());
        };
        let file = File::options().write(true).open(self.0.join(file_name(name)?))?;
        file.set_times(FileTimes::new().set_modified(time))
    }

    /// Directories have nothing that can be set.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "Unix has more to do")]
    pub(in crate::stage) fn describe_itself(&self, _inode: &Inode, _xattrs: &Xattrs) -> io::Result<()> {
        Ok(())
    }
}

/// A name that means itself on Windows ("Naming Files, Paths, and Namespaces" in its documentation).
fn file_name(name: &[u8]) -> io::Result<&str> {
    check(name)?;
    let invalid = || io::Error::from(io::ErrorKind::InvalidFilename);
    let name = str::from_utf8(name).map_err(|_| invalid())?;
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_uppercase();
    let is_device = matches!(&*stem, "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        || ["COM", "LPT"].iter().any(|device| {
            stem.strip_prefix(device).is_some_and(|number| {
                number.chars().count() == 1 && number.chars().all(|digit| "0123456789¹²³".contains(digit))
            })
        });
    let is_special = |character: char| character < ' ' || "<>:\"/\\|?*".contains(character);
    if is_device || name.contains(is_special) || name.ends_with(['.', ' ']) {
        return Err(invalid());
    }
    Ok(name)
}
