//! The store of downloaded blobs, named by what they hold: `<state>/blobs/<algorithm>/<hex>`.
//!
//! A blob appears under its name only when its size and digest are right. Nothing is synced: who reads a blob checks it
//! again, and removes it from the store if a crash of the machine has spoilt it.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::digest::{Check, Digest};
use super::error::ImageError;

/// A store of blobs in a directory.
pub(super) struct BlobStore {
    directory: PathBuf,
}

impl BlobStore {
    /// The store in `state_dir`, which need not exist yet.
    pub(super) fn new(state_dir: &Path) -> Self {
        Self {
            directory: state_dir.join("blobs"),
        }
    }

    /// The blob, if the store has it. A file of another size is not it.
    pub(super) fn get(&self, digest: &Digest, size: u64) -> Result<Option<File>, StoreError> {
        let path = self.path(digest);
        let read = |source| StoreError::Read {
            path: path.clone(),
            source,
        };
        match File::open(&path) {
            Ok(file) if file.metadata().map_err(read)?.len() == size => Ok(Some(file)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(read(error)),
        }
    }

    /// Begins to take a blob.
    pub(super) fn begin(&self, digest: &Digest, size: u64) -> Result<Incoming, StoreError> {
        let path = self.path(digest);
        let directory = path
            .parent()
            .expect("a blob's path has the store's directory before it");
        let write = |source| StoreError::Write {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(directory).map_err(write)?;
        let file = tempfile::Builder::new()
            .prefix(".incoming-")
            .tempfile_in(directory)
            .map_err(write)?;
        Ok(Incoming {
            file,
            path,
            digest: digest.clone(),
            check: Check::new(digest.clone(), Some(size)),
        })
    }

    /// Removes a blob, if the store has it.
    pub(super) fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StoreError::Write { path, source }),
            _ => Ok(()),
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.algorithm().name()).join(digest.hex())
    }
}

/// A blob on its way into the store. Dropped before [`Incoming::commit`], it leaves nothing.
pub(super) struct Incoming {
    file: NamedTempFile,
    path: PathBuf,
    digest: Digest,
    check: Check,
}

impl Incoming {
    /// Takes the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.check
            .update(bytes)
            .map_err(|source| ImageError::content(&self.digest, source))?;
        let path = &self.path;
        self.file.write_all(bytes).map_err(|source| StoreError::Write {
            path: path.clone(),
            source,
        })?;
        Ok(())
    }

    /// Gives the blob its name, if it is complete and right, and opens it from the start.
    pub(super) fn commit(self) -> Result<File, ImageError> {
        let Self {
            file,
            path,
            digest,
            check,
        } = self;
        check.finish().map_err(|source| ImageError::content(&digest, source))?;
        let write = |source| StoreError::Write {
            path: path.clone(),
            source,
        };
        let mut file = file.persist(&path).map_err(|error| write(error.error))?;
        file.rewind().map_err(write)?;
        Ok(file)
    }
}

/// The blob store could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A blob could not be read.
    #[error("could not read {} in the blob store", .path.display())]
    Read {
        /// The blob.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A blob could not be written or removed.
    #[error("could not write {} in the blob store", .path.display())]
    Write {
        /// The blob.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::image::digest::{Algorithm, DigestError};

    fn files_below(directory: &Path) -> usize {
        let Ok(entries) = fs::read_dir(directory) else { return 0 };
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .map(|path| if path.is_dir() { files_below(&path) } else { 1 })
            .sum()
    }

    #[test]
    fn a_right_blob_is_kept_and_read_from_the_start() {
        let state = tempfile::tempdir().unwrap();
        let store = BlobStore::new(state.path());
        let digest = Digest::of(Algorithm::Sha256, b"abc");
        assert!(store.get(&digest, 3).unwrap().is_none());

        let mut incoming = store.begin(&digest, 3).unwrap();
        incoming.write(b"a").unwrap();
        incoming.write(b"bc").unwrap();
        let mut content = String::new();
        incoming.commit().unwrap().read_to_string(&mut content).unwrap();
        store
            .get(&digest, 3)
            .unwrap()
            .unwrap()
            .read_to_string(&mut content)
            .unwrap();
        assert_eq!(content, "abcabc");
        assert!(state.path().join("blobs/sha256").join(digest.hex()).is_file());
        assert_eq!(files_below(state.path()), 1);

        assert!(
            store.get(&digest, 4).unwrap().is_none(),
            "a file of another size is not the blob"
        );
        store.remove(&digest).unwrap();
        store.remove(&digest).unwrap();
        assert_eq!(files_below(state.path()), 0);
    }

    #[test]
    fn a_wrong_blob_leaves_nothing() {
        let state = tempfile::tempdir().unwrap();
        let store = BlobStore::new(state.path());
        let digest = Digest::of(Algorithm::Sha256, b"abc");

        let mut other = store.begin(&digest, 3).unwrap();
        other.write(b"abd").unwrap();
        assert!(matches!(
            other.commit(),
            Err(ImageError::Content {
                source: DigestError::DigestMismatch { .. },
                ..
            })
        ));
        let mut short = store.begin(&digest, 3).unwrap();
        short.write(b"ab").unwrap();
        let size = |expected, actual| DigestError::SizeMismatch { expected, actual };
        assert!(matches!(short.commit(), Err(ImageError::Content { source, .. }) if source == size(3, 2)));
        let mut long = store.begin(&digest, 3).unwrap();
        let surplus = long.write(b"abcd");
        assert!(matches!(surplus, Err(ImageError::Content { source, .. }) if source == size(3, 4)));
        drop(long);
        assert_eq!(files_below(state.path()), 0);
    }
}
