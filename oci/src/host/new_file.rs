//! Files that get their name when they are complete.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf, is_separator};

use super::{Directory, EntryKind, Identity, Untrusted, parent_of};

/// A new file, which appears at its path with [`NewFile::publish`].
///
/// On Linux it has no name at all until then (`O_TMPFILE`): whatever ends the process, `kill -9`
/// included, leaves nothing. Only where it replaces a file, it has a hidden name beside that for an
/// instant, as a link replaces nothing. Elsewhere, and on file systems without such files, it is
/// `.microagent-XXXXXXXX.partial`, which is removed when this is dropped.
#[derive(Debug)]
pub struct NewFile {
    directory: Directory,
    name: OsString,
    /// Its hidden name, while it has one.
    hidden: Option<OsString>,
}

/// Treatment of a regular file that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It is replaced, in one step.
    File,
    /// It stays.
    Nothing,
}

impl NewFile {
    /// Makes an empty file, with a mode, less the umask, for a path where nothing or a regular file
    /// is. It can be written and read.
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

    /// As [`NewFile::create`], with a hidden name.
    ///
    /// # Errors
    ///
    /// As [`NewFile::create`].
    fn create_hidden(path: &Path, mode: u32) -> io::Result<(File, Self)> {
        let (directory, name) = target(path)?;
        let (hidden, file) = directory.create_hidden_file(mode)?;
        Ok((file, Self::new(directory, name, Some(hidden))))
    }

    /// Takes, for a path, a file of another directory, which loses its name there for a hidden one
    /// beside the path.
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

    /// Returns the path of its hidden name, while it has one.
    #[must_use]
    pub fn hidden_path(&self) -> Option<PathBuf> {
        self.hidden.as_ref().map(|hidden| self.directory.path().join(hidden))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    ///
    /// Those of link(2) and rename(2); `AlreadyExists` and [`Untrusted::NotAFile`] of what has the
    /// name; [`Untrusted::Replaced`] if somebody else put another file in place of this one. What
    /// had the name before has it still, and the new file is gone.
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
        // Not every system renames an open file.
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

    /// Puts it in the place of a regular file.
    fn replace(&self, hidden: &OsStr) -> io::Result<()> {
        self.check_file_or_missing(&self.name)?;
        // Something else may have the name by now, so the replaced entry is kept until it was seen.
        if !self.directory.exchange(hidden, &self.name)? {
            return self.directory.rename(hidden, &self.directory, &self.name);
        }
        self.remove_replaced(hidden)
    }

    /// Removes what the exchange left under the hidden name, or undoes the exchange.
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

    /// Refuses another file under a name of this one.
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
            // The caller has the failure that led here, and no use for another one.
            let _ = self.directory.remove_file(hidden);
        }
    }
}

/// Returns the directory and the name of a path where a file may appear.
fn target(path: &Path) -> io::Result<(Directory, OsString)> {
    // `images/` and `..` name directories, existing or not.
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
    fn a_file_that_is_not_published_is_gone() {
        for create in CONSTRUCTORS {
            let directory = tempfile::tempdir().unwrap();
            drop(begin(create, directory.path()));
            assert!(names(directory.path()).is_empty());
        }
    }

    #[test]
    fn a_published_file_replaces_a_file_if_it_may() {
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
    fn a_directory_is_not_replaced() {
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
    fn a_symlink_or_fifo_that_appears_at_the_last_moment_stays() {
        for make in ["ln -s elsewhere", "mkfifo"] {
            let directory = tempfile::tempdir().unwrap();
            let (file, new) = begin(NewFile::create_hidden, directory.path());
            let mut words = make.split(' ');
            let mut command = std::process::Command::new(words.next().unwrap());
            let status = command.args(words).arg(NAME).current_dir(directory.path()).status();
            assert!(status.unwrap().success());
            let before = new.directory.kind(NAME).unwrap();
            let hidden = new.hidden.clone().unwrap();
            // As if it had appeared after the look before.
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
    fn a_file_that_takes_the_place_of_the_hidden_one_is_not_published() {
        let directory = tempfile::tempdir().unwrap();
        let (file, new) = begin(NewFile::create_hidden, directory.path());
        let hidden = new.hidden_path().unwrap();
        fs::rename(&hidden, directory.path().join("stolen")).unwrap();
        fs::write(&hidden, "theirs").unwrap();
        let error = new.publish(file, Replace::File).unwrap_err();
        assert_eq!(Untrusted::from_error(&error), Some(&Untrusted::Replaced));
        assert!(!directory.path().join(NAME).exists());
    }

    /// It never has another name, with which it would stay if the process ended then.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_new_name_is_given_in_one_step() {
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
