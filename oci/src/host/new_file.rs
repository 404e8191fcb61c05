//! Files that appear at their path when they are complete.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf, is_separator};

use super::{Directory, EntryKind, Identity, Untrusted, parent_of};

/// A new file that appears at its path with [`NewFile::publish`].
///
/// On Linux, the file has no name until then (`O_TMPFILE`), so that even `kill -9` leaves no file.
/// If it replaces a file, it first gets a hidden name beside it, since link(2) replaces nothing;
/// the rename follows at once.
///
/// On other systems, and on file systems without `O_TMPFILE`, the file has the hidden name
/// `.microagent-XXXXXXXX.partial` from the start. It is removed when the `NewFile` is dropped.
#[derive(Debug)]
pub struct NewFile {
    directory: Directory,
    name: OsString,
    /// Hidden name, while the file has one.
    hidden: Option<OsString>,
}

/// Treatment of a regular file that already has the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// The file is replaced, in one step.
    File,
    /// The file stays, and [`NewFile::publish`] fails.
    Nothing,
}

impl NewFile {
    /// Creates an empty file for a path, open for reading and writing. `mode` is applied less the
    /// umask. The path must be unused or lead to a regular file.
    ///
    /// # Errors
    ///
    /// Those of open(2) and [`Directory::open`], and [`Untrusted::NotAFile`].
    pub fn create(path: &Path, mode: u32) -> io::Result<(File, Self)> {
        let (directory, name) = target(path)?;
        match directory.create_unnamed(mode) {
            Some(file) => Ok((file, Self::new(directory, name, None))),
            None => Self::create_hidden(path, mode),
        }
    }

    /// Creates a file as [`NewFile::create`] does, with a hidden name from the start.
    ///
    /// # Errors
    ///
    /// As [`NewFile::create`].
    fn create_hidden(path: &Path, mode: u32) -> io::Result<(File, Self)> {
        let (directory, name) = target(path)?;
        let (hidden, file) = directory.create_hidden_file(mode)?;
        Ok((file, Self::new(directory, name, Some(hidden))))
    }

    /// Makes a new file for a path from a file of another directory on the same file system.
    /// Renames that file to a hidden name beside the path.
    ///
    /// # Errors
    ///
    /// Those of rename(2) and [`Directory::open`], and [`Untrusted::NotAFile`].
    pub fn from_existing(path: &Path, from: &Directory, from_name: &OsStr) -> io::Result<Self> {
        let (directory, name) = target(path)?;
        let rename = |directory: &Directory, hidden: &OsStr| from.rename_new(from_name, directory, hidden);
        let (hidden, ()) = directory.create_hidden_with(rename)?;
        Ok(Self::new(directory, name, Some(hidden)))
    }

    fn new(directory: Directory, name: OsString, hidden: Option<OsString>) -> Self {
        Self {
            directory,
            name,
            hidden,
        }
    }

    /// Returns the path of the hidden name, while the file has one.
    #[must_use]
    pub fn hidden_path(&self) -> Option<PathBuf> {
        self.hidden.as_ref().map(|hidden| self.directory.path().join(hidden))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    ///
    /// Those of link(2) and rename(2); `AlreadyExists` and [`Untrusted::NotAFile`] because of the
    /// entry that has the name; [`Untrusted::Replaced`] if another user put another file in place
    /// of this one. After an error, the entry that had the name still has it, and the new file is
    /// removed.
    pub fn publish(mut self, file: File, replace: Replace) -> io::Result<()> {
        let identity = Identity::of(&file)?;
        let hidden = match self.hidden.take() {
            Some(hidden) => hidden,
            None => match self.directory.link(&file, &self.name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && replace == Replace::File => {
                    let link = |directory: &Directory, hidden: &OsStr| directory.link(&file, hidden);
                    self.directory.create_hidden_with(link)?.0
                }
                result => return result,
            },
        };
        // Windows cannot rename an open file.
        drop(file);
        self.hidden = Some(hidden.clone());
        self.check_identity(&hidden, identity)?;
        match self.directory.rename_new(&hidden, &self.directory, &self.name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && replace == Replace::File => {
                self.replace(&hidden)?;
            }
            result => result?,
        }
        self.hidden = None;
        self.check_identity(&self.name, identity)
    }

    /// Replaces the regular file that has the name.
    fn replace(&self, hidden: &OsStr) -> io::Result<()> {
        self.check_file_or_missing(&self.name)?;
        // Another entry may have taken the name after the check. The exchange keeps it, so that its
        // kind can be checked before it is removed.
        if !self.directory.exchange(hidden, &self.name)? {
            return self.directory.rename(hidden, &self.directory, &self.name);
        }
        self.remove_replaced(hidden)
    }

    /// Removes the replaced file, which has the hidden name after the exchange. If it is not a
    /// regular file, undoes the exchange.
    fn remove_replaced(&self, hidden: &OsStr) -> io::Result<()> {
        if let Err(refusal) = self.check_file_or_missing(hidden) {
            self.directory.exchange(hidden, &self.name)?;
            return Err(refusal);
        }
        self.directory.remove_file(hidden)
    }

    fn check_file_or_missing(&self, name: &OsStr) -> io::Result<()> {
        check_file_or_missing(&self.directory, name)
    }

    /// Checks that an entry is this file. Returns [`Untrusted::Replaced`] for another one.
    fn check_identity(&self, name: &OsStr, identity: Identity) -> io::Result<()> {
        if self.directory.entry_is(name, identity)? {
            return Ok(());
        }
        Err(Untrusted::Replaced.into())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            // The caller already gets the error that led to this drop.
            let _ = self.directory.remove_file(hidden);
        }
    }
}

/// Opens the directory of a new file's path, and returns it with the file's name. Refuses a path
/// that does not name a file.
fn target(path: &Path) -> io::Result<(Directory, OsString)> {
    // `images/` and `..` name directories, whether they exist or not.
    let names_a_directory = path.to_string_lossy().ends_with(is_separator);
    let Some(name) = path.file_name().filter(|_| !names_a_directory) else {
        return Err(Untrusted::NotAFile(EntryKind::Directory).into());
    };
    let directory = Directory::open(parent_of(path))?;
    check_file_or_missing(&directory, name)?;
    Ok((directory, name.to_owned()))
}

fn check_file_or_missing(directory: &Directory, name: &OsStr) -> io::Result<()> {
    match directory.kind(name)? {
        None | Some(EntryKind::File) => Ok(()),
        Some(kind) => Err(Untrusted::NotAFile(kind).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;
    use crate::host::DEFAULT_FILE_MODE;

    type Create = fn(&Path, u32) -> io::Result<(File, NewFile)>;

    const CONSTRUCTORS: [Create; 2] = [NewFile::create, NewFile::create_hidden];
    const NAME: &str = "disk";

    fn begin(create: Create, path: &Path) -> (File, NewFile) {
        let (mut file, new) = create(&path.join(NAME), DEFAULT_FILE_MODE).unwrap();
        file.write_all(b"after").unwrap();
        (file, new)
    }

    fn names(path: &Path) -> Vec<OsString> {
        Directory::open(path).unwrap().names().unwrap()
    }

    #[test]
    fn unpublished_file_is_removed() {
        for create in CONSTRUCTORS {
            let directory = tempfile::tempdir().unwrap();
            drop(begin(create, directory.path()));
            assert!(names(directory.path()).is_empty());
        }
    }

    #[test]
    fn published_file_replaces_a_file_if_requested() {
        for create in CONSTRUCTORS {
            let directory = tempfile::tempdir().unwrap();
            let target = directory.path().join(NAME);
            let (file, new) = begin(create, directory.path());
            new.publish(file, Replace::Nothing).unwrap();
            assert_eq!(fs::read(&target).unwrap(), b"after");

            fs::write(&target, "before").unwrap();
            let (file, new) = begin(create, directory.path());
            let error = new.publish(file, Replace::Nothing).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&target).unwrap(), b"before");

            let (file, new) = begin(create, directory.path());
            new.publish(file, Replace::File).unwrap();
            assert_eq!(fs::read(&target).unwrap(), b"after");
            assert_eq!(names(directory.path()), [NAME]);
        }
    }

    #[test]
    fn directory_is_not_replaced() {
        for create in CONSTRUCTORS {
            let directory = tempfile::tempdir().unwrap();
            let (file, new) = begin(create, directory.path());
            fs::create_dir(directory.path().join(NAME)).unwrap();
            new.publish(file, Replace::File).unwrap_err();
            assert_eq!(names(directory.path()), [NAME]);
            assert!(directory.path().join(NAME).is_dir());
        }
    }

    #[cfg(any(target_os = "linux", target_os = "macos"))]
    #[test]
    fn symlink_or_fifo_that_appears_after_the_check_is_kept() {
        for make in ["ln -s elsewhere", "mkfifo"] {
            let directory = tempfile::tempdir().unwrap();
            let (file, new) = begin(NewFile::create_hidden, directory.path());
            let mut words = make.split(' ');
            let mut command = std::process::Command::new(words.next().unwrap());
            let status = command.args(words).arg(NAME).current_dir(directory.path()).status();
            assert!(status.unwrap().success());
            let before = new.directory.kind(NAME).unwrap();
            let hidden = new.hidden.clone().unwrap();
            // Simulates an entry that appears after the check.
            if !new.directory.exchange(&hidden, NAME).unwrap() {
                return;
            }
            let error = new.remove_replaced(&hidden).unwrap_err();
            assert!(
                matches!(Untrusted::from_error(&error), Some(Untrusted::NotAFile(_))),
                "{error}"
            );
            assert!(new.directory.entry_is(&hidden, Identity::of(&file).unwrap()).unwrap());
            let error = new.publish(file, Replace::File).unwrap_err();
            assert!(
                matches!(Untrusted::from_error(&error), Some(Untrusted::NotAFile(_))),
                "{error}"
            );
            let directory = Directory::open(directory.path()).unwrap();
            assert_eq!(
                (directory.kind(NAME).unwrap(), directory.names().unwrap()),
                (before, vec![NAME.into()])
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn file_in_place_of_the_hidden_one_is_not_published() {
        let directory = tempfile::tempdir().unwrap();
        let (file, new) = begin(NewFile::create_hidden, directory.path());
        let hidden = new.hidden_path().unwrap();
        fs::rename(&hidden, directory.path().join("stolen")).unwrap();
        fs::write(&hidden, "theirs").unwrap();
        let error = new.publish(file, Replace::File).unwrap_err();
        assert_eq!(Untrusted::from_error(&error), Some(&Untrusted::Replaced));
        assert!(!directory.path().join(NAME).exists());
    }

    /// Checks that the file never has a temporary name, which would remain if the process ended in
    /// between.
    #[cfg(target_os = "linux")]
    #[test]
    fn unused_name_is_given_in_one_step() {
        use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
        let directory = tempfile::tempdir().unwrap();
        let (file, new) = begin(NewFile::create, directory.path());
        if new.hidden.is_some() {
            return;
        }
        let watch = inotify::init(CreateFlags::NONBLOCK).unwrap();
        let events = WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE;
        inotify::add_watch(&watch, directory.path(), events).unwrap();
        new.publish(file, Replace::File).unwrap();
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&watch, &mut buffer);
        let event = reader.next().unwrap();
        assert_eq!(event.events(), ReadFlags::CREATE);
        assert_eq!(event.file_name().map(std::ffi::CStr::to_bytes), Some(NAME.as_bytes()));
        assert!(reader.next().is_err(), "something else happened");
    }
}
