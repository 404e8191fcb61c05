//! Confinement on systems without directory descriptors: only files and directories are created,
//! and only under names without a special meaning.

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ext4::read::Inode;
use ext4::{Device, FileType, Xattrs};

use super::{check_name, components};

/// The directory that no operation leaves.
#[derive(Debug)]
pub(in crate::stage) struct ConfinedRoot(PathBuf);

/// A directory inside the root.
pub(in crate::stage) struct ConfinedDirectory(PathBuf);

impl ConfinedRoot {
    /// Opens a directory of the host as the root.
    pub(in crate::stage) fn open(directory: &oci::host::Directory) -> io::Result<Self> {
        // On Windows, a canonical path has the form in which long paths work.
        Ok(Self(fs::canonicalize(directory.path())?))
    }

    /// Returns a directory that was created inside the root.
    pub(in crate::stage) fn directory(&self, path: &[u8]) -> io::Result<ConfinedDirectory> {
        let mut directory = self.0.clone();
        for name in components(path) {
            directory.push(file_name(name)?);
        }
        Ok(ConfinedDirectory(directory))
    }

    /// Removes everything in the root. Errors are ignored; no directory created here is locked or
    /// too deep to remove.
    pub(in crate::stage) fn remove_contents(&self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let path = entry.path();
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
    }
}

impl ConfinedDirectory {
    /// Creates a directory.
    pub(in crate::stage) fn make_directory(&self, name: &[u8]) -> io::Result<()> {
        fs::create_dir(self.0.join(file_name(name)?))
    }

    /// Creates an empty file. Fails if the name exists.
    pub(in crate::stage) fn make_file(&self, name: &[u8]) -> io::Result<File> {
        let path = self.0.join(file_name(name)?);
        File::options().write(true).create_new(true).open(path)
    }

    /// Returns `false`: symlinks need a privilege here, and would lead elsewhere than in the image.
    #[expect(clippy::unused_self, reason = "Unix has more to do")]
    pub(in crate::stage) fn make_symlink(&self, name: &[u8], _target: &[u8]) -> io::Result<bool> {
        file_name(name).map(|_| false)
    }

    /// Returns `false`: the file system here has no devices, pipes or sockets.
    #[expect(clippy::unused_self, reason = "Unix has more to do")]
    pub(in crate::stage) fn make_special(
        &self,
        name: &[u8],
        _file_type: FileType,
        _device: Option<Device>,
    ) -> io::Result<bool> {
        file_name(name).map(|_| false)
    }

    /// Creates a hard link to a file.
    pub(in crate::stage) fn make_link(&self, name: &[u8], other: &Self, other_name: &[u8]) -> io::Result<()> {
        fs::hard_link(other.0.join(file_name(other_name)?), self.0.join(file_name(name)?))
    }

    /// Returns whether two names refer to the same entry: names here ignore case.
    #[expect(clippy::unused_self, reason = "Unix has more to do")]
    pub(in crate::stage) fn is_same_entry(&self, one: &[u8], other: &[u8]) -> bool {
        let folded = |name| String::from_utf8_lossy(name).to_lowercase();
        folded(one) == folded(other)
    }

    /// Sets the modification time of a file.
    pub(in crate::stage) fn set_metadata(&self, name: &[u8], inode: &Inode, _xattrs: &Xattrs) -> io::Result<()> {
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

    /// Does nothing: directories have no metadata that can be set here.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "Unix has more to do")]
    pub(in crate::stage) fn set_own_metadata(&self, _inode: &Inode, _xattrs: &Xattrs) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the name as text, or an error if Windows forbids it or gives it a special meaning
/// ("Naming Files, Paths, and Namespaces" in its documentation).
fn file_name(name: &[u8]) -> io::Result<&str> {
    check_name(name)?;
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
