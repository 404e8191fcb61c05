//! Files that get their name when they are complete.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::PathBuf;

use super::{Directory, EntryKind, Untrusted};

/// Permission bits of any new file, less the umask.
const ANY_FILE: u32 = 0o666;

/// A new file of a directory, in place of which nothing appears until [`NewFile::publish`].
///
/// On Linux it has no name at all until then (`O_TMPFILE`): whatever ends the process, `kill -9`
/// included, leaves nothing. Only where it replaces a file, it has a hidden name beside that for an
/// instant, as a link replaces nothing. Elsewhere, and on file systems without such files, it is
/// `.microagent-XXXXXXXX.partial`, which is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct NewFile {
    directory: Directory,
    /// Its hidden name, if it has one.
    hidden: Option<OsString>,
}

/// What becomes of an entry that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replace {
    /// A regular file is replaced in one step; everything else stays.
    Files,
    /// It stays.
    Nothing,
}

impl NewFile {
    /// Makes an empty file, which can be written and read, with mode 0666, less the umask.
    ///
    /// # Errors
    ///
    /// Those of open(2).
    pub(crate) fn create(directory: Directory) -> io::Result<(File, Self)> {
        if let Some(file) = directory.create_nameless(ANY_FILE) {
            let hidden = None;
            return Ok((file, Self { directory, hidden }));
        }
        Self::create_hidden(directory)
    }

    /// As [`NewFile::create`], with a hidden name.
    ///
    /// # Errors
    ///
    /// Those of open(2).
    pub(crate) fn create_hidden(directory: Directory) -> io::Result<(File, Self)> {
        let (name, file) = directory.create_hidden(ANY_FILE)?;
        let hidden = Some(name);
        Ok((file, Self { directory, hidden }))
    }

    /// Takes a file that has a name in another directory, which it loses for a hidden one in this.
    ///
    /// # Errors
    ///
    /// Those of rename(2), and [`Untrusted::Replaced`] if the name is another file's by now.
    pub(crate) fn adopt(directory: Directory, file: &File, from: &Directory, name: &OsStr) -> io::Result<Self> {
        let (hidden, ()) = directory.make_hidden(|directory, hidden| from.rename_new(name, directory, hidden))?;
        let adopted = Self {
            directory,
            hidden: Some(hidden),
        };
        adopted.check(file, adopted.hidden.as_deref())?;
        Ok(adopted)
    }

    /// Returns the directory that it is in.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Returns the path of its hidden name, if it has one.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.hidden.as_ref().map(|hidden| self.directory.path().join(hidden))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    ///
    /// Those of link(2) and rename(2); `AlreadyExists` and [`Untrusted::NotAFile`] if what has the name
    /// stays; [`Untrusted::Replaced`] if somebody else put another file in place of this one. In each
    /// case, what had the name before has it still, and the new file is gone.
    pub(crate) fn publish(mut self, file: File, name: &OsStr, replace: Replace) -> io::Result<()> {
        if self.hidden.is_none() {
            match self.directory.link(&file, name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && replace == Replace::Files => {}
                result => return result.and_then(|()| self.check(&file, Some(name))),
            }
            let link = |directory: &Directory, hidden: &OsStr| directory.link(&file, hidden);
            let (hidden, ()) = self.directory.make_hidden(link)?;
            self.hidden = Some(hidden);
        }
        self.check(&file, self.hidden.as_deref())?;
        // Some systems rename no open file.
        #[cfg(not(unix))]
        drop(file);
        let hidden = self.hidden.as_deref().expect("it got one above");
        match self.directory.rename_new(hidden, &self.directory, name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && replace == Replace::Files => {
                self.replace(hidden, name)?;
            }
            result => result?,
        }
        self.hidden = None;
        #[cfg(unix)]
        self.check(&file, Some(name))?;
        Ok(())
    }

    /// Puts it in the place of a regular file.
    fn replace(&self, hidden: &OsStr, name: &OsStr) -> io::Result<()> {
        self.refuse_all_but_files(name)?;
        // Something else may have the name by now, so the replaced entry is kept until it was seen.
        if !self.directory.exchange(hidden, name)? {
            return self.directory.rename(hidden, &self.directory, name);
        }
        self.remove_replaced(hidden, name)
    }

    /// Removes what the exchange left under the hidden name, or undoes the exchange.
    fn remove_replaced(&self, hidden: &OsStr, name: &OsStr) -> io::Result<()> {
        if let Err(refusal) = self.refuse_all_but_files(hidden) {
            self.directory.exchange(hidden, name)?;
            return Err(refusal);
        }
        self.directory.remove_file(hidden)
    }

    fn refuse_all_but_files(&self, name: &OsStr) -> io::Result<()> {
        match self.directory.kind(name)? {
            None | Some(EntryKind::File) => Ok(()),
            Some(kind) => Err(Untrusted::NotAFile(kind).into()),
        }
    }

    /// Refuses another file under a name of this one.
    #[cfg(unix)]
    fn check(&self, file: &File, name: Option<&OsStr>) -> io::Result<()> {
        match name {
            Some(name) if !self.directory.is(name, file)? => Err(Untrusted::Replaced.into()),
            _ => Ok(()),
        }
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "Unix has more to do")]
    fn check(&self, _file: &File, _name: Option<&OsStr>) -> io::Result<()> {
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use super::*;

    type Create = fn(Directory) -> io::Result<(File, NewFile)>;

    const WAYS: [Create; 2] = [NewFile::create, NewFile::create_hidden];
    const NAME: &str = "disk";

    fn begin(create: Create, path: &Path) -> (File, NewFile) {
        let (mut file, new) = create(Directory::open(path).unwrap()).unwrap();
        file.write_all(b"after").unwrap();
        (file, new)
    }

    fn names(path: &Path) -> Vec<OsString> {
        Directory::open(path).unwrap().names().unwrap()
    }

    #[test]
    fn a_file_that_is_not_published_is_gone() {
        for create in WAYS {
            let directory = tempfile::tempdir().unwrap();
            drop(begin(create, directory.path()));
            assert!(names(directory.path()).is_empty());
        }
    }

    #[test]
    fn a_published_file_replaces_a_file_if_it_may() {
        for create in WAYS {
            let directory = tempfile::tempdir().unwrap();
            let target = directory.path().join(NAME);
            let (file, new) = begin(create, directory.path());
            new.publish(file, NAME.as_ref(), Replace::Nothing).unwrap();
            assert_eq!(fs::read(&target).unwrap(), b"after");

            fs::write(&target, "before").unwrap();
            let (file, new) = begin(create, directory.path());
            let error = new.publish(file, NAME.as_ref(), Replace::Nothing).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&target).unwrap(), b"before");

            let (file, new) = begin(create, directory.path());
            new.publish(file, NAME.as_ref(), Replace::Files).unwrap();
            assert_eq!(fs::read(&target).unwrap(), b"after");
            assert_eq!(names(directory.path()), [NAME]);
        }
    }

    #[test]
    fn a_directory_is_not_replaced() {
        for create in WAYS {
            let directory = tempfile::tempdir().unwrap();
            let (file, new) = begin(create, directory.path());
            fs::create_dir(directory.path().join(NAME)).unwrap();
            new.publish(file, NAME.as_ref(), Replace::Files).unwrap_err();
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
            let error = new.remove_replaced(&hidden, NAME.as_ref()).unwrap_err();
            assert!(matches!(Untrusted::of(&error), Some(Untrusted::NotAFile(_))), "{error}");
            assert!(new.directory.is(&hidden, &file).unwrap());
            let error = new.publish(file, NAME.as_ref(), Replace::Files).unwrap_err();
            assert!(matches!(Untrusted::of(&error), Some(Untrusted::NotAFile(_))), "{error}");
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
        let hidden = new.path().unwrap();
        fs::rename(&hidden, directory.path().join("stolen")).unwrap();
        fs::write(&hidden, "theirs").unwrap();
        let error = new.publish(file, NAME.as_ref(), Replace::Files).unwrap_err();
        assert_eq!(Untrusted::of(&error), Some(&Untrusted::Replaced));
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
        new.publish(file, NAME.as_ref(), Replace::Files).unwrap();
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&watch, &mut buffer);
        let event = reader.next().unwrap();
        assert_eq!(event.events(), ReadFlags::CREATE);
        assert_eq!(event.file_name().map(std::ffi::CStr::to_bytes), Some(NAME.as_bytes()));
        assert!(reader.next().is_err(), "something else happened");
    }
}
