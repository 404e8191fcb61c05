//! Blobs on their way into the store of which nobody goes on with a beginning: a kill leaves a file that the next [`sweep`] removes.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::{self, Write};

use super::{BlobStore, StoreError, Subdirectory, is_unusable, none_if_missing, remove_entry};
use crate::digest::Digest;
use crate::host::{Access, Directory, EntryKind};

/// How often a new file is made in place of one that a sweep took for left.
const CREATE_ATTEMPTS: usize = 10;

/// A file with a name of its own, locked for this process and removed when it is dropped, unless it becomes a blob.
pub(super) struct IncomingBlob {
    file: File,
    directory: Directory,
    /// Its name there; none once it has lost it.
    name: Option<OsString>,
    /// The directory that the blob will be in.
    target: Directory,
    digest: Digest,
}

impl IncomingBlob {
    /// Begins a blob.
    pub(super) fn create(store: &BlobStore, digest: &Digest) -> Result<Self, StoreError> {
        let mut attempts = 1..;
        loop {
            let directory = store.ensure_subdirectory(Subdirectory::Incoming)?;
            let create = |directory: &Directory, name: &OsStr| directory.create_new(name, 0o600);
            let made = directory.create_unique_with(&prefix(digest), "", create);
            let (name, file) = made.map_err(|source| StoreError::write(directory.path().to_owned(), source))?;
            let path = directory.path().join(&name);
            let incoming = Self {
                file,
                directory,
                name: Some(name),
                target: store.ensure_subdirectory(Subdirectory::Blobs(digest.algorithm()))?,
                digest: digest.clone(),
            };
            match incoming.file.try_lock() {
                Ok(()) => return Ok(incoming),
                Err(TryLockError::WouldBlock) if attempts.next() < Some(CREATE_ATTEMPTS) => {}
                Err(error) => return Err(StoreError::lock(path, error.into())),
            }
        }
    }

    /// Whether somebody is writing this blob.
    pub(super) fn is_being_written(store: &BlobStore, digest: &Digest) -> bool {
        let Ok(Some(directory)) = store.find_subdirectory(Subdirectory::Incoming) else {
            return false;
        };
        let prefix = prefix(digest);
        let mut names = directory.names().unwrap_or_default().into_iter();
        names.any(|name| {
            name.as_encoded_bytes().starts_with(prefix.as_bytes()) && matches!(lock(&directory, &name), Ok(None))
        })
    }

    /// Takes the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|source| {
            let name = self.name.as_deref().unwrap_or_default();
            StoreError::write(self.directory.path().join(name), source)
        })
    }

    /// Gives it its name: all of it was written, and has the digest.
    pub(super) fn commit(mut self) -> Result<(), StoreError> {
        let name = self.name.as_deref().expect("only this function takes it");
        let hex = self.digest.hex();
        match self.directory.rename(name, &self.target, hex) {
            Ok(()) => {
                self.name = None;
                Ok(())
            }
            // A sweep was quicker than the lock, or the store is gone: it is as if it had been evicted.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Where it cannot be replaced because somebody reads it, it is there.
            Err(_) if matches!(self.target.kind(hex), Ok(Some(EntryKind::File))) => Ok(()),
            Err(source) => Err(StoreError::write(self.target.path().join(hex), source)),
        }
    }
}

impl Drop for IncomingBlob {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // The next sweep removes the rest.
            let _ = self.directory.remove_file(name);
        }
    }
}

/// Removes what processes left that were killed, and what none of them can have made. Returns what
/// could not be removed.
pub(super) fn sweep(store: &BlobStore) -> Vec<StoreError> {
    let directory = match store.find_subdirectory(Subdirectory::Incoming) {
        Ok(Some(directory)) => directory,
        Ok(None) => return Vec::new(),
        Err(error) => return vec![error],
    };
    let failed = |source| vec![StoreError::read(directory.path().to_owned(), source)];
    let names = match directory.names() {
        Ok(names) => names,
        Err(source) => return failed(source),
    };
    let mut problems = Vec::new();
    for name in names {
        if let Err(source) = sweep_entry(&directory, &name) {
            problems.push(StoreError::write(directory.path().join(name), source));
        }
    }
    problems
}

fn sweep_entry(directory: &Directory, name: &OsStr) -> io::Result<()> {
    match lock(directory, name) {
        Ok(None) => Ok(()),
        // No name is ever used again, so this is still the file that was locked.
        Ok(Some(_locked)) => none_if_missing(directory.remove_file(name)).map(drop),
        // Nobody writes what a build would refuse to open.
        Err(error) if is_unusable(&error) => remove_entry(directory, name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn prefix(digest: &Digest) -> String {
    format!("{}.", digest.hex())
}

/// The lock of a file that is there; none if somebody has it.
fn lock(directory: &Directory, name: &OsStr) -> io::Result<Option<File>> {
    let file = directory.open_file(name, Access::Write)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::digest::Algorithm;

    fn store() -> (tempfile::TempDir, BlobStore, Digest) {
        let state = tempfile::tempdir().unwrap();
        let store = BlobStore::new(state.path());
        (state, store, Digest::of(Algorithm::Sha256, b"abc"))
    }

    fn names(store: &BlobStore) -> Vec<OsString> {
        let directory = store.find_subdirectory(Subdirectory::Incoming).unwrap();
        directory.map_or_else(Vec::new, |directory| directory.names().unwrap())
    }

    #[test]
    fn a_kill_leaves_no_half_blob_and_nothing_that_a_sweep_does_not_remove() {
        let (_state, store, digest) = store();
        let mut killed = IncomingBlob::create(&store, &digest).unwrap();
        killed.write(b"a").unwrap();
        assert!(IncomingBlob::is_being_written(&store, &digest));
        assert!(sweep(&store).is_empty());
        assert_eq!(names(&store).len(), 1, "what is being written stays");

        // The end of a process closes its files, and removes none.
        killed.file = File::open(std::env::current_exe().unwrap()).unwrap();
        std::mem::forget(killed);
        assert_eq!(names(&store).len(), 1);
        let target = store.path(&digest);
        assert!(!target.exists());
        assert!(!IncomingBlob::is_being_written(&store, &digest));

        // Who comes next has a file of his own.
        let mut next = IncomingBlob::create(&store, &digest).unwrap();
        next.write(b"abc").unwrap();
        next.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"abc");
        assert!(sweep(&store).is_empty());
        assert_eq!(names(&store), Vec::<OsString>::new());
    }

    #[test]
    fn two_may_write_the_same() {
        let (_state, store, digest) = store();
        let (mut one, mut two) = (
            IncomingBlob::create(&store, &digest).unwrap(),
            IncomingBlob::create(&store, &digest).unwrap(),
        );
        one.write(b"abc").unwrap();
        two.write(b"a").unwrap();
        one.commit().unwrap();
        two.write(b"bc").unwrap();
        two.commit().unwrap();
        assert_eq!(fs::read(store.path(&digest)).unwrap(), b"abc");
        assert_eq!(names(&store), Vec::<OsString>::new());
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let (_state, store, digest) = store();
        let mut incoming = IncomingBlob::create(&store, &digest).unwrap();
        incoming.write(b"a").unwrap();
        drop(incoming);
        assert_eq!(names(&store), Vec::<OsString>::new());
        assert!(!store.path(&digest).exists());
    }
}
