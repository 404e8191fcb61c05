//! Blobs on their way into the store of which nobody goes on with a beginning: a kill leaves a file that the next [`sweep`] removes.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use super::{BlobStore, StoreError};
use crate::image::digest::Digest;
use crate::image::private;

/// How often a new file is made in place of one that a sweep took for left.
const ATTEMPTS: usize = 10;

/// A file with a name of its own, locked for this process and removed when it is dropped, unless it becomes a blob.
pub(super) struct Incoming {
    file: NamedTempFile,
    target: PathBuf,
}

impl Incoming {
    /// Begins a blob.
    pub(super) fn begin(store: &BlobStore, digest: &Digest) -> Result<Self, StoreError> {
        let (directory, target) = (directory(store), store.path(digest));
        for directory in [&*directory, parent(&target)] {
            private::create_directory(directory).map_err(|source| failed(directory, source))?;
        }
        let mut attempts = 1..;
        loop {
            // With the permissions of any new file, as other blobs have them.
            let create = |path: &Path| File::options().write(true).create_new(true).open(path);
            let file = Builder::new().prefix(&prefix(digest)).make_in(&directory, create);
            let file = file.map_err(|source| failed(&directory, source))?;
            match file.as_file().try_lock() {
                Ok(()) => return Ok(Self { file, target }),
                Err(TryLockError::WouldBlock) if attempts.next() < Some(ATTEMPTS) => {}
                Err(error) => {
                    let path = file.path().to_owned();
                    let source = error.into();
                    return Err(StoreError::Lock { path, source });
                }
            }
        }
    }

    /// Whether somebody is writing this blob.
    pub(super) fn is_begun(store: &BlobStore, digest: &Digest) -> bool {
        let prefix = prefix(digest);
        let is_it = |file: &fs::DirEntry| file.file_name().to_string_lossy().starts_with(&prefix);
        files(store).any(|file| is_it(&file) && lock(&file.path()).is_none())
    }

    /// Takes the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.file.as_file_mut().write_all(bytes);
        written.map_err(|source| failed(self.file.path(), source))
    }

    /// Gives it its name: all of it was written, and has the digest.
    pub(super) fn commit(self) -> Result<(), StoreError> {
        match self.file.persist(&self.target) {
            Ok(_) => Ok(()),
            // A sweep was quicker than the lock, or the store is gone: it is as if it had been evicted.
            Err(failure) if failure.error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Where it cannot be replaced because somebody reads it, it is there.
            Err(_) if self.target.exists() => Ok(()),
            Err(failure) => Err(failed(&self.target, failure.error)),
        }
    }
}

/// Removes what processes left that were killed.
pub(super) fn sweep(store: &BlobStore) {
    for path in files(store).map(|file| file.path()) {
        // No name is ever used again, so this is still the file that was locked.
        if let Some(_locked) = lock(&path) {
            let _ = fs::remove_file(&path);
        }
    }
}

fn directory(store: &BlobStore) -> PathBuf {
    store.directory.join("incoming")
}

fn files(store: &BlobStore) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(directory(store)).into_iter().flatten().flatten()
}

fn prefix(digest: &Digest) -> String {
    format!("{}.", digest.hex())
}

/// The lock of a file that is there, if nobody has it.
fn lock(path: &Path) -> Option<File> {
    let file = File::options().write(true).open(path).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

fn parent(target: &Path) -> &Path {
    target
        .parent()
        .expect("a blob's path has the store's directory before it")
}

fn failed(path: &Path, source: io::Error) -> StoreError {
    StoreError::Write {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::Algorithm;

    fn store() -> (tempfile::TempDir, BlobStore, Digest) {
        let state = tempfile::tempdir().unwrap();
        let store = BlobStore::new(state.path());
        (state, store, Digest::of(Algorithm::Sha256, b"abc"))
    }

    fn names(store: &BlobStore) -> Vec<String> {
        let name = |file: fs::DirEntry| file.file_name().into_string().unwrap();
        files(store).map(name).collect()
    }

    #[test]
    fn a_kill_leaves_no_half_blob_and_nothing_that_a_sweep_does_not_remove() {
        let (_state, store, digest) = store();
        let mut killed = Incoming::begin(&store, &digest).unwrap();
        killed.write(b"a").unwrap();
        assert!(Incoming::is_begun(&store, &digest));
        sweep(&store);
        assert_eq!(names(&store).len(), 1, "what is being written stays");

        // The end of a process closes its files, and removes none.
        let Incoming { file, target } = killed;
        let (file, path) = file.keep().unwrap();
        drop(file);
        assert!(path.exists() && !target.exists());
        assert!(!Incoming::is_begun(&store, &digest));

        // Who comes next has a file of his own.
        let mut next = Incoming::begin(&store, &digest).unwrap();
        next.write(b"abc").unwrap();
        next.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"abc");
        sweep(&store);
        assert_eq!(names(&store), Vec::<String>::new());
    }

    #[test]
    fn two_may_write_the_same() {
        let (_state, store, digest) = store();
        let (mut one, mut two) = (
            Incoming::begin(&store, &digest).unwrap(),
            Incoming::begin(&store, &digest).unwrap(),
        );
        one.write(b"abc").unwrap();
        two.write(b"a").unwrap();
        one.commit().unwrap();
        two.write(b"bc").unwrap();
        two.commit().unwrap();
        assert_eq!(fs::read(store.path(&digest)).unwrap(), b"abc");
        assert_eq!(names(&store), Vec::<String>::new());
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let (_state, store, digest) = store();
        let mut incoming = Incoming::begin(&store, &digest).unwrap();
        incoming.write(b"a").unwrap();
        drop(incoming);
        assert_eq!(names(&store), Vec::<String>::new());
        assert!(!store.path(&digest).exists());
    }
}
