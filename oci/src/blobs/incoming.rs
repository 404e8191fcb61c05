//! Writes of blobs that are never resumed: documents and cached tars. A process that is killed
//! leaves a file in `incoming`, which the next [`sweep`] removes.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::{self, Write};

use super::{BlobStore, StoreError, Subdirectory, is_unusable, none_if_missing, remove_entry};
use crate::digest::Digest;
use crate::host::{Access, Directory, EntryKind};

/// Attempts to create and lock a file. An attempt fails if a sweep locks the new file first, to
/// remove it.
const CREATE_ATTEMPTS: usize = 10;

/// A blob being written, in a file of its own that this process has locked. Dropped before
/// [`IncomingBlob::commit`], the file is removed.
pub(super) struct IncomingBlob {
    file: File,
    directory: Directory,
    /// Name of the file in `directory`; `None` once it was renamed.
    name: Option<OsString>,
    /// Directory of the complete blob.
    target: Directory,
    digest: Digest,
}

impl IncomingBlob {
    /// Creates an empty file for a blob, and locks it.
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

    /// Returns whether any process is writing this blob.
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

    /// Appends bytes to the blob.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|source| {
            let name = self.name.as_deref().unwrap_or_default();
            StoreError::write(self.directory.path().join(name), source)
        })
    }

    /// Publishes the blob under its digest. The caller has written all of it, and has verified its
    /// digest.
    pub(super) fn commit(mut self) -> Result<(), StoreError> {
        let name = self.name.as_deref().expect("only this function takes it");
        let hex = self.digest.hex();
        match self.directory.rename(name, &self.target, hex) {
            Ok(()) => {
                self.name = None;
                Ok(())
            }
            // A sweep removed the file before it was locked, or the whole store was removed. The
            // blob counts as evicted.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Windows cannot replace a blob that a process is reading; the store has the blob.
            Err(_) if matches!(self.target.kind(hex), Ok(Some(EntryKind::File))) => Ok(()),
            Err(source) => Err(StoreError::write(self.target.path().join(hex), source)),
        }
    }
}

impl Drop for IncomingBlob {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // If this fails, the next sweep removes the file.
            let _ = self.directory.remove_file(name);
        }
    }
}

/// Removes files of processes that were killed, and entries that no build can have made. Returns an
/// error for each entry that could not be removed.
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
        // Names are random and never reused, so the name still belongs to the locked file.
        Ok(Some(_locked)) => none_if_missing(directory.remove_file(name)).map(drop),
        // No build has such a file open for writing, since a build refuses to open it.
        Err(error) if is_unusable(&error) => remove_entry(directory, name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn prefix(digest: &Digest) -> String {
    format!("{}.", digest.hex())
}

/// Opens and locks a file that exists; `None` if another process holds its lock.
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
    fn sweep_removes_the_file_of_a_killed_process() {
        let (_state, store, digest) = store();
        let mut killed = IncomingBlob::create(&store, &digest).unwrap();
        killed.write(b"a").unwrap();
        assert!(IncomingBlob::is_being_written(&store, &digest));
        assert!(sweep(&store).is_empty());
        assert_eq!(names(&store).len(), 1, "a blob that is being written is kept");

        // A process that ends closes its files without removing them.
        killed.file = File::open(std::env::current_exe().unwrap()).unwrap();
        std::mem::forget(killed);
        assert_eq!(names(&store).len(), 1);
        let target = store.path(&digest);
        assert!(!target.exists());
        assert!(!IncomingBlob::is_being_written(&store, &digest));

        // The next writer creates another file.
        let mut next = IncomingBlob::create(&store, &digest).unwrap();
        next.write(b"abc").unwrap();
        next.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"abc");
        assert!(sweep(&store).is_empty());
        assert_eq!(names(&store), Vec::<OsString>::new());
    }

    #[test]
    fn two_writers_of_the_same_blob() {
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
    fn dropped_write_leaves_no_file() {
        let (_state, store, digest) = store();
        let mut incoming = IncomingBlob::create(&store, &digest).unwrap();
        incoming.write(b"a").unwrap();
        drop(incoming);
        assert_eq!(names(&store), Vec::<OsString>::new());
        assert!(!store.path(&digest).exists());
    }
}
