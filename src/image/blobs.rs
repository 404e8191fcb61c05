//! The store of blobs, shared by all builds that use the same state directory.
//!
//! - `blobs/<algorithm>/<hex>` holds a blob. It gets this name only when its size and digest are right.
//! - `blobs/<algorithm>/<hex>.partial` holds the beginning of one that is downloaded, which whoever comes next goes on with.
//! - `blobs/incoming/<hex>.<any>` holds, until it is whole, what nobody goes on with: a document, or a layer's tar that is kept,
//!   which is a blob of its own. Whoever writes it has it locked.
//! - `blobs/locks/<3 hex digits>` is locked by who writes one of the blobs whose hash begins so. Locks end with the process
//!   that holds them, `kill -9` included, and their files stay: nobody can wait for one that another removes.
//!
//! When a blob was last used is its time of modification. Nothing is synced: who reads a blob checks it again, and
//! removes it from the store if a crash of the machine has spoilt it.

mod cache;
mod incoming;
mod keep;
mod partial;

use std::fs::{self, File, FileTimes, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use super::digest::Digest;
use super::manifest::MAX_DOCUMENT_LEN;
use super::private;
use incoming::Incoming;

pub use cache::{Cache, CacheEntry};
pub(crate) use keep::Keep;
pub(super) use partial::Partial;

/// A store of blobs in a directory.
#[derive(Debug, Clone)]
pub(super) struct BlobStore {
    directory: PathBuf,
}

/// What comes of wanting to write a blob.
pub(super) enum Begin {
    /// Nobody else does, so it can begin or go on.
    Partial(Box<Partial>),
    /// The store has it by now.
    Stored,
    /// Somebody else is writing it, or a blob that shares its lock.
    Taken,
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
        let Some(file) = open(&path)? else { return Ok(None) };
        let read = |source| StoreError::Read { path, source };
        if file.metadata().map_err(read)?.len() != size {
            return Ok(None);
        }
        mark_used(&file);
        Ok(Some(file))
    }

    /// A blob of any size, and its size in bytes, if the store has it.
    pub(super) fn find(&self, digest: &Digest) -> Option<(File, u64)> {
        let file = open(&self.path(digest)).ok()??;
        let size = file.metadata().ok()?.len();
        mark_used(&file);
        Some((file, size))
    }

    /// An index, a manifest or a config, if the store has it. One that is damaged is removed.
    pub(super) fn document(&self, digest: &Digest, size: Option<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(digest);
        let Some(file) = open(&path)? else { return Ok(None) };
        let mut content = Vec::new();
        (&file)
            .take(MAX_DOCUMENT_LEN + 1)
            .read_to_end(&mut content)
            .map_err(|source| StoreError::Read { path, source })?;
        if digest.check(&content, None).is_err() {
            self.remove(digest)?;
            return Ok(None);
        }
        mark_used(&file);
        Ok(Some(content).filter(|content| size.is_none_or(|size| content.len() as u64 == size)))
    }

    /// Takes an index, a manifest or a config whose digest is right.
    pub(super) fn put(&self, digest: &Digest, content: &[u8]) -> Result<(), StoreError> {
        let mut incoming = Incoming::begin(self, digest)?;
        incoming.write(content)?;
        incoming.commit()
    }

    /// Begins to write a blob, or goes on where somebody stopped, which must be read first, unless that is interrupted.
    pub(super) fn begin(&self, digest: &Digest, size: u64, interrupted: &AtomicBool) -> Result<Begin, StoreError> {
        let Some(lock) = self.try_lock(digest)? else {
            return Ok(Begin::Taken);
        };
        if self.get(digest, size)?.is_some() {
            return Ok(Begin::Stored);
        }
        Partial::open(
            self.path(digest),
            self.partial_path(digest),
            digest,
            size,
            lock,
            interrupted,
        )
        .map(|partial| Begin::Partial(Box::new(partial)))
    }

    /// Opens what there is of a blob that is being written.
    pub(super) fn open_partial(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.partial_path(digest);
        File::open(&path).map_err(|source| StoreError::Read { path, source })
    }

    /// Removes a blob, if the store has it.
    pub(super) fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        remove(self.path(digest))
    }

    /// Locks the right to write a blob. None while somebody else has it.
    fn try_lock(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        let directory = self.directory.join("locks");
        let path = directory.join(&digest.hex()[..3]);
        let failed = |source| StoreError::Lock {
            path: path.clone(),
            source,
        };
        private::create_directory(&directory).map_err(failed)?;
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.algorithm().name()).join(digest.hex())
    }

    fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.path(digest).with_extension(PARTIAL)
    }
}

/// The extension of a blob's beginning.
const PARTIAL: &str = "partial";

fn open(path: &Path) -> Result<Option<File>, StoreError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

fn remove(path: PathBuf) -> Result<(), StoreError> {
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StoreError::Write { path, source }),
        _ => Ok(()),
    }
}

/// Makes a blob the one that was used last. Where that cannot be, it is only evicted earlier.
fn mark_used(file: &File) {
    #[expect(
        clippy::disallowed_methods,
        reason = "it decides what is evicted from the store, and nothing of an image"
    )]
    let now = SystemTime::now();
    let _ = file.set_times(FileTimes::new().set_modified(now));
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
    /// A lock could not be taken.
    #[error("could not lock {} in the blob store", .path.display())]
    Lock {
        /// The file that is locked.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A download that went on where an earlier one had stopped did not come to its digest; what there was is removed.
    #[error("the beginning of {digest} that an earlier download had left was damaged, and is removed")]
    Damaged {
        /// The digest of the blob.
        digest: Digest,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageError;
    use crate::image::digest::{Algorithm, DigestError};

    const CONTENT: &[u8] = b"abc";

    fn store() -> (tempfile::TempDir, BlobStore, Digest) {
        let state = tempfile::tempdir().unwrap();
        let store = BlobStore::new(state.path());
        (state, store, Digest::of(Algorithm::Sha256, CONTENT))
    }

    fn begin(store: &BlobStore, digest: &Digest) -> Box<Partial> {
        match store.begin(digest, 3, &AtomicBool::new(false)).unwrap() {
            Begin::Partial(partial) => partial,
            Begin::Stored => panic!("it is there"),
            Begin::Taken => panic!("it is locked"),
        }
    }

    fn blobs(state: &tempfile::TempDir) -> Vec<String> {
        let entries = fs::read_dir(state.path().join("blobs/sha256")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_right_blob_is_kept() {
        let (state, store, digest) = store();
        assert!(store.get(&digest, 3).unwrap().is_none());
        let mut partial = begin(&store, &digest);
        partial.write(b"a").unwrap();
        assert!(store.get(&digest, 3).unwrap().is_none());
        partial.write(b"bc").unwrap();
        partial.commit().unwrap();
        assert_eq!(blobs(&state), [digest.hex()]);
        let mut content = Vec::new();
        store
            .get(&digest, 3)
            .unwrap()
            .unwrap()
            .read_to_end(&mut content)
            .unwrap();
        assert_eq!(content, CONTENT);
        assert!(matches!(
            store.begin(&digest, 3, &AtomicBool::new(false)).unwrap(),
            Begin::Stored
        ));

        assert!(
            store.get(&digest, 4).unwrap().is_none(),
            "a file of another size is not the blob"
        );
        store.remove(&digest).unwrap();
        store.remove(&digest).unwrap();
        assert_eq!(blobs(&state), Vec::<String>::new());
    }

    #[test]
    fn a_wrong_blob_leaves_nothing() {
        let (state, store, digest) = store();
        let mut other = begin(&store, &digest);
        other.write(b"abd").unwrap();
        assert!(matches!(
            other.commit(),
            Err(ImageError::Content {
                source: DigestError::DigestMismatch { .. },
                ..
            })
        ));
        assert_eq!(blobs(&state), Vec::<String>::new());

        let size = |expected, actual| DigestError::SizeMismatch { expected, actual };
        let mut short = begin(&store, &digest);
        short.write(b"ab").unwrap();
        assert!(matches!(short.commit(), Err(ImageError::Content { source, .. }) if source == size(3, 2)));
        assert_eq!(blobs(&state), Vec::<String>::new());

        let mut long = begin(&store, &digest);
        let surplus = long.write(b"abcd");
        assert!(matches!(surplus, Err(ImageError::Content { source, .. }) if source == size(3, 4)));
        long.discard();
        assert_eq!(blobs(&state), Vec::<String>::new());
    }

    #[test]
    fn what_was_begun_goes_on() {
        let (_state, store, digest) = store();
        begin(&store, &digest).write(b"ab").unwrap();
        let mut partial = begin(&store, &digest);
        assert_eq!(partial.len(), 2);
        partial.write(b"c").unwrap();
        partial.commit().unwrap();
        assert!(store.get(&digest, 3).unwrap().is_some());
    }

    #[test]
    fn what_was_begun_wrongly_is_found_out_and_removed() {
        let (state, store, digest) = store();
        begin(&store, &digest).write(b"ax").unwrap();
        let mut partial = begin(&store, &digest);
        partial.write(b"c").unwrap();
        assert!(matches!(
            partial.commit(),
            Err(ImageError::Store(StoreError::Damaged { .. }))
        ));
        assert_eq!(blobs(&state), Vec::<String>::new());

        fs::write(store.partial_path(&digest), "longer than the blob").unwrap();
        assert_eq!(begin(&store, &digest).len(), 0);
    }

    #[test]
    fn to_read_what_was_begun_can_be_interrupted() {
        let (state, store, digest) = store();
        begin(&store, &digest).write(b"ab").unwrap();
        assert!(store.begin(&digest, 3, &AtomicBool::new(true)).is_err());
        assert_eq!(blobs(&state), [format!("{}.partial", digest.hex())]);
        assert_eq!(begin(&store, &digest).len(), 2, "it stays, and is not locked any more");
    }

    #[test]
    fn one_writes_while_others_wait() {
        let (_state, store, digest) = store();
        let partial = begin(&store, &digest);
        assert!(matches!(
            store.begin(&digest, 3, &AtomicBool::new(false)).unwrap(),
            Begin::Taken
        ));
        store.put(&digest, CONTENT).unwrap();
        drop(partial);
        assert!(matches!(
            store.begin(&digest, 3, &AtomicBool::new(false)).unwrap(),
            Begin::Stored
        ));
    }

    #[test]
    fn documents_are_only_given_when_they_are_right() {
        let (_state, store, digest) = store();
        assert_eq!(store.document(&digest, None).unwrap(), None);
        store.put(&digest, CONTENT).unwrap();
        assert_eq!(store.document(&digest, None).unwrap().as_deref(), Some(CONTENT));
        assert_eq!(store.document(&digest, Some(4)).unwrap(), None);
        fs::write(store.path(&digest), "abd").unwrap();
        assert_eq!(store.document(&digest, None).unwrap(), None);
        store.put(&digest, CONTENT).unwrap();
        assert_eq!(store.document(&digest, None).unwrap().as_deref(), Some(CONTENT));
    }
}
