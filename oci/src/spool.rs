//! Files that are kept for the time of a build, without a name, in the state directory.

use std::fs::File;
use std::io::{self, Read, Write, stdin};
use std::path::{Path, PathBuf};

use super::file_range::{FileError, FileRange};
use crate::host::Directory;
use layer::cancel::{Cancel, Cancellable, Cancelled, ThreadedReader};

/// Bytes that are copied at once.
const BUFFER_LEN: usize = 128 << 10;

/// Where such files are, and what ends the making of one.
#[derive(Debug, Clone)]
pub(super) struct Spool {
    place: Place,
    max_len: u64,
    cancel: Cancel,
}

/// Directory of such files.
#[derive(Debug, Clone)]
enum Place {
    /// A directory that only this user can enter, in the state directory.
    State(PathBuf),
    /// The directory that the system has for such files, which all users share.
    System(PathBuf),
}

impl Place {
    fn path(&self) -> PathBuf {
        match self {
            Self::State(state) => state.join(TMP),
            Self::System(path) => path.clone(),
        }
    }

    /// Makes a file that is gone once it is closed.
    fn create(&self) -> Result<File, FileError> {
        let directory = match self {
            Self::State(state) => Directory::open_private(state)
                .map_err(|source| failed(state.clone(), source))?
                .private_subdirectory(TMP, true),
            Self::System(path) => match Directory::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Directory::open_private(path),
                directory => directory,
            },
        };
        let file = directory.and_then(|directory| create_in(&directory));
        file.map_err(|source| failed(self.path(), source))
    }
}

fn failed(path: PathBuf, source: io::Error) -> FileError {
    FileError::Scratch { path, source }
}

/// The directory of such files in the state directory.
const TMP: &str = "tmp";

#[cfg(unix)]
fn create_in(directory: &Directory) -> io::Result<File> {
    if let Some(file) = directory.create_unnamed(0o600) {
        return Ok(file);
    }
    let (name, file) = directory.create_hidden_file(0o600)?;
    directory.remove_file(name)?;
    Ok(file)
}

/// Windows removes a file that is open only if it was opened for that.
#[cfg(not(unix))]
fn create_in(directory: &Directory) -> io::Result<File> {
    tempfile::tempfile_in(directory.path())
}

impl Spool {
    /// The place below a state directory, or without one where the system has such files, which need not exist yet, for files of so
    /// many bytes at most.
    pub(super) fn new(state_dir: &Path, max_len: u64, cancel: &Cancel) -> Self {
        let place = if state_dir.as_os_str().is_empty() {
            Place::System(std::env::temp_dir())
        } else {
            Place::State(state_dir.to_owned())
        };
        Self {
            place,
            max_len,
            cancel: cancel.clone(),
        }
    }

    /// All that a reader gives, which errors call `path`.
    pub(super) fn spool(&self, reader: impl Read, path: &Path) -> Result<FileRange, FileError> {
        let mut reader = self.cancellable(reader);
        let mut file = self.place.create()?;
        let mut buffer = vec![0; BUFFER_LEN];
        let mut len = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(FileRange::whole(file, len)),
                Ok(count) => {
                    len += count as u64;
                    if len > self.max_len {
                        let (path, max) = (path.to_owned(), self.max_len);
                        return Err(FileError::TooLarge { path, max });
                    }
                    file.write_all(&buffer[..count])
                        .map_err(|source| failed(self.place.path(), source))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let path = path.to_owned();
                    return Err(FileError::Read { path, source });
                }
            }
        }
    }

    /// All of standard input, however long it takes to come.
    pub(super) fn spool_input(&self, path: &Path) -> Result<FileRange, FileError> {
        let input = ThreadedReader::new(stdin(), &self.cancel).map_err(|source| FileError::Read {
            path: path.to_owned(),
            source,
        })?;
        self.spool(input, path)
    }

    /// Fails when the making of such a file would end.
    pub(super) fn check(&self) -> Result<(), Cancelled> {
        self.cancel.check()
    }

    /// Most bytes of such a file.
    pub(super) fn max_len(&self) -> u64 {
        self.max_len
    }

    /// A reader that ends when the making of such a file would.
    pub(super) fn cancellable<R>(&self, reader: R) -> Cancellable<R> {
        Cancellable::new(reader, &self.cancel)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Fails;

    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    fn scratch() -> (tempfile::TempDir, Cancel, Spool) {
        let (state, cancel) = (tempfile::tempdir().unwrap(), Cancel::new());
        let scratch = Spool::new(state.path(), 1 << 20, &cancel);
        (state, cancel, scratch)
    }

    #[test]
    fn what_was_spooled_is_read_and_has_no_name() {
        let (state, _, scratch) = scratch();
        let content = vec![7; BUFFER_LEN + 1];
        let mut section = scratch.spool(&content[..], Path::new("x")).unwrap();
        let mut read = Vec::new();
        section.read_to_end(&mut read).unwrap();
        assert!(read == content);
        let names = || fs::read_dir(state.path().join("tmp")).unwrap().count();
        // On Windows it has a name as long as it is open.
        assert!(names() == 0 || cfg!(windows));
        drop(section);
        assert_eq!(names(), 0);
    }

    #[test]
    fn what_cannot_be_read_is_not_the_fault_of_the_directory() {
        let (state, _, scratch) = scratch();
        let error = scratch.spool(io::Cursor::new(b"abc").chain(Fails), Path::new("x"));
        assert!(matches!(error, Err(FileError::Read { path, .. }) if path == Path::new("x")));
        fs::remove_dir(state.path().join("tmp")).unwrap();
        fs::write(state.path().join("tmp"), "").unwrap();
        let error = scratch.spool(&b"abc"[..], Path::new("x"));
        assert!(matches!(error, Err(FileError::Scratch { .. })));
    }

    #[test]
    fn there_is_an_end_to_what_few_bytes_can_become() {
        let (state, _, scratch) = scratch();
        let most = scratch.spool(io::repeat(0).take(1 << 20), Path::new("x")).unwrap();
        assert_eq!(most.len(), 1 << 20);
        drop(most);
        let error = scratch.spool(io::repeat(0), Path::new("x"));
        assert!(matches!(error, Err(FileError::TooLarge { max: 1_048_576, .. })));
        assert_eq!(fs::read_dir(state.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_cancellation_ends_it() {
        let (_state, cancel, scratch) = scratch();
        cancel.cancel();
        scratch.spool(io::repeat(0), Path::new("x")).unwrap_err();
    }
}
