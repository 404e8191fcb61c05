//! The blob store, shared by all builds that use the same state directory.
//!
//! The store has no index and no daemon. Its files, below the state directory:
//!
//! - `blobs/<algorithm>/<hex>` is a complete blob.
//! - `blobs/<algorithm>/<hex>.partial` is the beginning of a download, which the next download of
//!   the blob resumes.
//! - `blobs/incoming/<hex>.<random>` is an incomplete blob that is never resumed: a document
//!   (index, manifest or config), or a cached tar.
//! - `blobs/locks/<3 hex digits>` is the lock of all blobs whose hash begins with these digits.
//!
//! The rules:
//!
//! 1. A file gets the name of a blob by a rename, and only when its size and digest are right.
//! 2. A process writes a `.partial` file only while it holds the blob's lock. While it hashes or
//!    waits for bytes, other processes wait for the lock.
//! 3. A process locks its own file in `incoming`. Any process may remove a file there that is not
//!    locked: its writer is dead.
//! 4. A lock ends with the process that holds it, even after `kill -9`. Lock files are never
//!    removed, since another process may be waiting for one.
//! 5. A process that waits for a lock compares the lengths of the `.partial` files that share the
//!    lock. While one of them grows, the holder is alive; otherwise the wait ends with
//!    [`StoreError::Held`].
//! 6. The modification time of a blob is the time of its last use. Eviction removes the least
//!    recently used blobs first.
//! 7. Nothing is fsynced. A reader verifies the digest of a stored blob, and a build that finds
//!    a damaged blob, after a crash of the machine for example, removes it and starts again.
//! 8. All files are opened relative to the directory `blobs`, which is opened once, and through no
//!    symlink. So a reader of a growing blob reads the very file whose hash the download computes.
//! 9. Files are created with mode 0600, and directories with mode 0700. A file or directory that
//!    another user owns or can change is refused and not repaired: only `cache prune` and `cache
//!    verify` remove it.
//!
//! To add a kind of file to the store: document its name and its lock here, create it in a module
//! of its own like [`incoming`], and teach [`cache`] to list, evict and verify it. Whatever `cache
//! verify` and `cache prune` do not know stays in the store for ever.

mod cache;
#[cfg(feature = "registry")]
mod download;
mod error;
mod incoming;
#[cfg(feature = "registry")]
mod partial;
mod tar_cache_writer;

use std::ffi::OsStr;
use std::fs::{File, FileTimes, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use super::digest::{Algorithm, Digest};
use crate::host::{Access, Directory, EntryKind, Untrusted};

pub use cache::{Cache, CacheEntry, CacheReport};
#[cfg(feature = "registry")]
pub(super) use download::{LockActivity, WriteTicket};
pub use error::StoreError;
#[cfg(feature = "registry")]
pub(super) use partial::PartialBlob;
pub use tar_cache_writer::TarCacheWriter;

/// A store of blobs in a state directory.
#[derive(Debug, Clone)]
pub(super) struct BlobStore {
    state_dir: PathBuf,
    /// The directory `blobs`, once it was opened. From then on, the store stays the same even if
    /// the path leads elsewhere.
    blobs: Arc<OnceLock<Directory>>,
}

/// A subdirectory of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subdirectory {
    Blobs(Algorithm),
    Incoming,
    Locks,
}

impl Subdirectory {
    fn name(self) -> &'static str {
        match self {
            Self::Blobs(algorithm) => algorithm.name(),
            Self::Incoming => "incoming",
            Self::Locks => "locks",
        }
    }
}

impl BlobStore {
    /// Opens the store in `state_dir`, which may be missing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if the store exists and another user owns it or can change it, and
    /// [`StoreError::Read`].
    pub(super) fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let store = Self::new(state_dir);
        store.find_blobs_directory()?;
        Ok(store)
    }

    /// Returns the store in `state_dir` without opening it. Each operation reports the errors of
    /// [`BlobStore::open`].
    fn new(state_dir: &Path) -> Self {
        let is_current = state_dir.as_os_str().is_empty();
        Self {
            state_dir: if is_current { Path::new(".") } else { state_dir }.to_owned(),
            blobs: Arc::default(),
        }
    }

    /// Opens a blob of any size. Returns the file and its size in bytes, or `None` if the store
    /// lacks the blob.
    pub(super) fn find(&self, digest: &Digest) -> Option<(File, u64)> {
        let (file, size) = self.open_blob(digest).ok()??;
        mark_used(&file);
        Some((file, size))
    }

    /// Removes a blob, if the store has it.
    pub(super) fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        match self.find_subdirectory(Subdirectory::Blobs(digest.algorithm()))? {
            Some(directory) => remove(&directory, digest.hex()),
            None => Ok(()),
        }
    }

    /// Returns the path of a blob's lock.
    pub(super) fn lock_path(&self, digest: &Digest) -> PathBuf {
        self.subdirectory_path(Subdirectory::Locks).join(lock_name(digest))
    }

    /// Returns whether the store has an entry with the name of a blob, or whether that is unknown
    /// because of an error.
    fn has_entry(&self, digest: &Digest) -> bool {
        let directory = self.find_subdirectory(Subdirectory::Blobs(digest.algorithm()));
        directory
            .is_ok_and(|directory| directory.is_some_and(|directory| !matches!(directory.kind(digest.hex()), Ok(None))))
    }

    /// Opens a blob, without marking it as used. Returns the file and its size in bytes, or `None`
    /// if the store lacks the blob.
    fn open_blob(&self, digest: &Digest) -> Result<Option<(File, u64)>, StoreError> {
        let Some(directory) = self.find_subdirectory(Subdirectory::Blobs(digest.algorithm()))? else {
            return Ok(None);
        };
        let open = || {
            let file = directory.open_file(digest.hex(), Access::Read)?;
            let len = file.metadata()?.len();
            Ok((file, len))
        };
        none_if_missing(open()).map_err(|source| StoreError::read(self.path(digest), source))
    }

    /// Takes the lock of a blob. Returns `None` while another process or thread holds it.
    fn try_lock(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        let failed = |source| StoreError::lock(self.lock_path(digest), source);
        let locks = self.ensure_subdirectory(Subdirectory::Locks)?;
        let file = locks.open_file(lock_name(digest), Access::Create).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Opens a subdirectory of the store; `None` if it is missing.
    fn find_subdirectory(&self, directory: Subdirectory) -> Result<Option<Directory>, StoreError> {
        let Some(blobs) = self.find_blobs_directory()? else {
            return Ok(None);
        };
        none_if_missing(blobs.private_subdirectory(directory.name(), false))
            .map_err(|source| StoreError::read(self.subdirectory_path(directory), source))
    }

    /// Opens a subdirectory of the store, and creates missing directories.
    fn ensure_subdirectory(&self, directory: Subdirectory) -> Result<Directory, StoreError> {
        let blobs = match self.find_blobs_directory()? {
            Some(blobs) => blobs,
            None => self.ensure_blobs_directory()?,
        };
        blobs
            .private_subdirectory(directory.name(), true)
            .map_err(|source| StoreError::write(self.subdirectory_path(directory), source))
    }

    /// Opens the directory `blobs`; `None` if it is missing.
    fn find_blobs_directory(&self) -> Result<Option<&Directory>, StoreError> {
        if let Some(blobs) = self.blobs.get() {
            return Ok(Some(blobs));
        }
        let state = Directory::find_private(&self.state_dir);
        let state = state.map_err(|source| StoreError::read(self.state_dir.clone(), source))?;
        let Some(state) = state else { return Ok(None) };
        let blobs = none_if_missing(state.private_subdirectory(BLOBS, false));
        let blobs = blobs.map_err(|source| StoreError::read(self.state_dir.join(BLOBS), source))?;
        Ok(blobs.map(|blobs| self.blobs.get_or_init(|| blobs)))
    }

    /// Opens the directory `blobs`, and creates missing directories.
    fn ensure_blobs_directory(&self) -> Result<&Directory, StoreError> {
        let state = Directory::open_private(&self.state_dir);
        let state = state.map_err(|source| StoreError::write(self.state_dir.clone(), source))?;
        let blobs = state.private_subdirectory(BLOBS, true);
        let blobs = blobs.map_err(|source| StoreError::write(self.state_dir.join(BLOBS), source))?;
        Ok(self.blobs.get_or_init(|| blobs))
    }

    /// Returns the path of a subdirectory, for messages.
    fn subdirectory_path(&self, directory: Subdirectory) -> PathBuf {
        self.state_dir.join(BLOBS).join(directory.name())
    }

    /// Returns the path of a blob, for messages.
    fn path(&self, digest: &Digest) -> PathBuf {
        self.subdirectory_path(Subdirectory::Blobs(digest.algorithm()))
            .join(digest.hex())
    }
}

/// Digest algorithms, each with a subdirectory for its blobs.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// Name of the store in the state directory.
const BLOBS: &str = "blobs";

/// Extension of the beginning of a download.
const PARTIAL: &str = "partial";

fn partial_name(digest: &Digest) -> String {
    format!("{}.{PARTIAL}", digest.hex())
}

fn lock_name(digest: &Digest) -> &str {
    &digest.hex()[..3]
}

/// Turns the error `NotFound` into `None`.
fn none_if_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file, which may be missing.
fn remove(directory: &Directory, name: &str) -> Result<(), StoreError> {
    let removed = none_if_missing(directory.remove_file(name));
    removed
        .map(drop)
        .map_err(|source| StoreError::write(directory.path().join(name), source))
}

/// Removes an entry of any kind, which may be missing. Fails for a directory that is not empty.
fn remove_entry(directory: &Directory, name: impl AsRef<OsStr>) -> io::Result<()> {
    let name = name.as_ref();
    let removed = match directory.kind(name)? {
        None => return Ok(()),
        Some(EntryKind::Directory) => directory.remove_directory(name),
        Some(_) => directory.remove_file(name),
    };
    none_if_missing(removed).map(drop)
}

/// Returns whether an error means that no build can ever open the file, so that it may be removed.
fn is_unusable(error: &io::Error) -> bool {
    // Windows also denies access to a file that is about to be removed.
    Untrusted::from_error(error).is_some() || (cfg!(unix) && error.kind() == io::ErrorKind::PermissionDenied)
}

/// Marks a blob as the most recently used. A failure only means that the blob is evicted earlier.
fn mark_used(file: &File) {
    #[expect(
        clippy::disallowed_methods,
        reason = "it decides which blobs are evicted, and affects no image"
    )]
    let now = SystemTime::now();
    let _ = file.set_times(FileTimes::new().set_modified(now));
}
