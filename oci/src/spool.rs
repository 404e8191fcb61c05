//! Unnamed temporary files in the state directory, for archives that are decompressed or come
//! through a pipe.

use std::fs::File;
use std::io::{self, Read, Write, stdin};
use std::path::{Path, PathBuf};

use super::file_range::{FileError, FileRange};
use crate::host::Directory;
use layer::cancel::{Cancel, Cancellable, Cancelled, ThreadedReader};

/// Size of the copy buffer in bytes.
const BUFFER_LEN: usize = 128 << 10;

/// Creates unnamed temporary files in a directory, with a limit on the size of each, until it is
/// cancelled.
#[derive(Debug, Clone)]
pub(super) struct Spool {
    directory: SpoolDirectory,
    max_len: u64,
    cancel: Cancel,
}

/// The directory that holds the files.
#[derive(Debug, Clone)]
enum SpoolDirectory {
    /// `tmp` in the state directory with this path. Only this user can enter it.
    State(PathBuf),
    /// The temporary directory of the system, which all users share.
    System(PathBuf),
}

impl SpoolDirectory {
    /// Returns the path of the directory.
    fn path(&self) -> PathBuf {
        match self {
            Self::State(state) => state.join(TMP),
            Self::System(path) => path.clone(),
        }
    }

    /// Creates a file that vanishes when it is closed.
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
        let file = directory.and_then(|directory| create_unnamed(&directory));
        file.map_err(|source| failed(self.path(), source))
    }
}

fn failed(path: PathBuf, source: io::Error) -> FileError {
    FileError::Spool { path, source }
}

/// Name of the directory in the state directory.
const TMP: &str = "tmp";

/// Creates a file without a name, or removes its name at once where the file system needs one.
#[cfg(unix)]
fn create_unnamed(directory: &Directory) -> io::Result<File> {
    if let Some(file) = directory.create_unnamed(0o600) {
        return Ok(file);
    }
    let (name, file) = directory.create_hidden_file(0o600)?;
    directory.remove_file(name)?;
    Ok(file)
}

/// Creates a file with the flag to delete it on close: Windows removes an open file only if it has
/// that.
#[cfg(not(unix))]
fn create_unnamed(directory: &Directory) -> io::Result<File> {
    tempfile::tempfile_in(directory.path())
}

impl Spool {
    /// Returns a spool in a state directory, or for an empty path in the temporary directory of the
    /// system. The directory need not exist yet. `max_len` limits the bytes of each file.
    pub(super) fn new(state_dir: &Path, max_len: u64, cancel: &Cancel) -> Self {
        let directory = if state_dir.as_os_str().is_empty() {
            SpoolDirectory::System(std::env::temp_dir())
        } else {
            SpoolDirectory::State(state_dir.to_owned())
        };
        Self {
            directory,
            max_len,
            cancel: cancel.clone(),
        }
    }

    /// Copies a reader into a new file. `path` names the reader in errors.
    pub(super) fn spool(&self, reader: impl Read, path: &Path) -> Result<FileRange, FileError> {
        let mut reader = self.cancellable(reader);
        let mut file = self.directory.create()?;
        let mut buffer = vec![0; BUFFER_LEN];
        let mut len = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(FileRange::prefix(file, len)),
                Ok(count) => {
                    len += count as u64;
                    if len > self.max_len {
                        let (path, max) = (path.to_owned(), self.max_len);
                        return Err(FileError::TooLarge { path, max });
                    }
                    file.write_all(&buffer[..count])
                        .map_err(|source| failed(self.directory.path(), source))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let path = path.to_owned();
                    return Err(FileError::Read { path, source });
                }
            }
        }
    }

    /// Copies standard input into a new file, and waits for it until cancelled.
    pub(super) fn spool_input(&self, path: &Path) -> Result<FileRange, FileError> {
        let input = ThreadedReader::new(stdin(), &self.cancel).map_err(|source| FileError::Read {
            path: path.to_owned(),
            source,
        })?;
        self.spool(input, path)
    }

    /// Returns an error once the spool is cancelled.
    pub(super) fn check(&self) -> Result<(), Cancelled> {
        self.cancel.check()
    }

    /// Returns the limit on the bytes of a file.
    pub(super) fn max_len(&self) -> u64 {
        self.max_len
    }

    /// Wraps a reader so that it fails once the spool is cancelled.
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

    fn spool() -> (tempfile::TempDir, Cancel, Spool) {
        let (state, cancel) = (tempfile::tempdir().unwrap(), Cancel::new());
        let spool = Spool::new(state.path(), 1 << 20, &cancel);
        (state, cancel, spool)
    }

    #[test]
    fn spooled_bytes_are_read_from_a_file_without_a_name() {
        let (state, _, spool) = spool();
        let content = vec![7; BUFFER_LEN + 1];
        let mut range = spool.spool(&content[..], Path::new("x")).unwrap();
        let mut read = Vec::new();
        range.read_to_end(&mut read).unwrap();
        assert!(read == content);
        let names = || fs::read_dir(state.path().join("tmp")).unwrap().count();
        // On Windows the file has a name while it is open.
        assert!(names() == 0 || cfg!(windows));
        drop(range);
        assert_eq!(names(), 0);
    }

    #[test]
    fn errors_name_the_reader_or_the_directory() {
        let (state, _, spool) = spool();
        let error = spool.spool(io::Cursor::new(b"abc").chain(Fails), Path::new("x"));
        assert!(matches!(error, Err(FileError::Read { path, .. }) if path == Path::new("x")));
        fs::remove_dir(state.path().join("tmp")).unwrap();
        fs::write(state.path().join("tmp"), "").unwrap();
        let error = spool.spool(&b"abc"[..], Path::new("x"));
        assert!(matches!(error, Err(FileError::Spool { .. })));
    }

    #[test]
    fn endless_reader_fails_at_the_limit() {
        let (state, _, spool) = spool();
        let most = spool.spool(io::repeat(0).take(1 << 20), Path::new("x")).unwrap();
        assert_eq!(most.len(), 1 << 20);
        drop(most);
        let error = spool.spool(io::repeat(0), Path::new("x"));
        assert!(matches!(error, Err(FileError::TooLarge { max: 1_048_576, .. })));
        assert_eq!(fs::read_dir(state.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn cancelled_spool_stops_reading() {
        let (_state, cancel, spool) = spool();
        cancel.cancel();
        spool.spool(io::repeat(0), Path::new("x")).unwrap_err();
    }
}
