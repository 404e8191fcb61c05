//! The store of blobs, shared by all builds that use the same state directory.
//!
//! - `blobs/<algorithm>/<hex>` holds a blob. It gets this name only when its size and digest are
//!   right.
//! - `blobs/<algorithm>/<hex>.partial` holds the beginning of a download, which the next download of
//!   the blob resumes.
//! - `blobs/incoming/<hex>.<any>` holds, until it is whole, a blob that is never resumed: a document,
//!   or a layer's tar that is kept, which is a blob of its own. Its writer has it locked.
//! - `blobs/locks/<3 hex digits>` is locked while a blob is written whose hash begins so. Locks end
//!   with the process that holds them, `kill -9` included, and their files stay: nobody can wait for
//!   one that another removes.
//!
//! When a blob was last used is its time of modification. Nothing is synced: who reads a blob
//! checks it again, and removes it from the store if a crash of the machine has spoilt it.
//!
//! Everything is reached by descriptor, from the state directory on, and through no symlink. What
//! another user owns or can change is refused: it is not this store's, since files are made with
//! mode 0600, and directories with 0700.

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
    /// The directory `blobs`, once it was opened: from then on, all is the same store, whatever
    /// becomes of the path.
    blobs: Arc<OnceLock<Directory>>,
}

/// A directory of the store.
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
    /// The store in `state_dir`, which need not exist yet.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if it exists and another user made it or can change it, and
    /// [`StoreError::Read`].
    pub(super) fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let store = Self::new(state_dir);
        store.find_blobs_directory()?;
        Ok(store)
    }

    /// As [`BlobStore::open`], with the refusal left to each operation.
    fn new(state_dir: &Path) -> Self {
        let is_here = state_dir.as_os_str().is_empty();
        Self {
            state_dir: if is_here { Path::new(".") } else { state_dir }.to_owned(),
            blobs: Arc::default(),
        }
    }

    /// A blob of any size, and its size in bytes, if the store has it.
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

    /// Path of the lock that a blob is written under.
    pub(super) fn lock_path(&self, digest: &Digest) -> PathBuf {
        self.subdirectory_path(Subdirectory::Locks).join(lock_name(digest))
    }

    /// Returns whether an entry has the name of a blob.
    fn has_entry(&self, digest: &Digest) -> bool {
        let directory = self.find_subdirectory(Subdirectory::Blobs(digest.algorithm()));
        directory
            .is_ok_and(|directory| directory.is_some_and(|directory| !matches!(directory.kind(digest.hex()), Ok(None))))
    }

    /// Opens a blob, and returns its size in bytes too, if the store has it.
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

    /// Locks the right to write a blob. None while somebody else has it.
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

    /// Opens one of its directories, if it is there.
    fn find_subdirectory(&self, directory: Subdirectory) -> Result<Option<Directory>, StoreError> {
        let Some(blobs) = self.find_blobs_directory()? else {
            return Ok(None);
        };
        none_if_missing(blobs.private_subdirectory(directory.name(), false))
            .map_err(|source| StoreError::read(self.subdirectory_path(directory), source))
    }

    /// Opens one of its directories, and makes what is missing on the way there.
    fn ensure_subdirectory(&self, directory: Subdirectory) -> Result<Directory, StoreError> {
        let blobs = match self.find_blobs_directory()? {
            Some(blobs) => blobs,
            None => self.ensure_blobs_directory()?,
        };
        blobs
            .private_subdirectory(directory.name(), true)
            .map_err(|source| StoreError::write(self.subdirectory_path(directory), source))
    }

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

    fn ensure_blobs_directory(&self) -> Result<&Directory, StoreError> {
        let state = Directory::open_private(&self.state_dir);
        let state = state.map_err(|source| StoreError::write(self.state_dir.clone(), source))?;
        let blobs = state.private_subdirectory(BLOBS, true);
        let blobs = blobs.map_err(|source| StoreError::write(self.state_dir.join(BLOBS), source))?;
        Ok(self.blobs.get_or_init(|| blobs))
    }

    fn subdirectory_path(&self, directory: Subdirectory) -> PathBuf {
        self.state_dir.join(BLOBS).join(directory.name())
    }

    /// Path of a blob, for messages.
    fn path(&self, digest: &Digest) -> PathBuf {
        self.subdirectory_path(Subdirectory::Blobs(digest.algorithm()))
            .join(digest.hex())
    }
}

/// Algorithms by which blobs are named.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// The directory of the store in the state directory.
const BLOBS: &str = "blobs";

/// The extension of a blob's beginning.
const PARTIAL: &str = "partial";

fn partial_name(digest: &Digest) -> String {
    format!("{}.{PARTIAL}", digest.hex())
}

fn lock_name(digest: &Digest) -> &str {
    &digest.hex()[..3]
}

/// Turns what is missing into `None`.
fn none_if_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file, if it is there.
fn remove(directory: &Directory, name: &str) -> Result<(), StoreError> {
    let removed = none_if_missing(directory.remove_file(name));
    removed
        .map(drop)
        .map_err(|source| StoreError::write(directory.path().join(name), source))
}

/// Removes whatever has a name, if that is not a directory with something in it.
fn remove_entry(directory: &Directory, name: impl AsRef<OsStr>) -> io::Result<()> {
    let name = name.as_ref();
    let removed = match directory.kind(name)? {
        None => return Ok(()),
        Some(EntryKind::Directory) => directory.remove_directory(name),
        Some(_) => directory.remove_file(name),
    };
    none_if_missing(removed).map(drop)
}

/// Returns whether no build can open a file, whatever else the system does meanwhile: it is of no
/// use.
fn is_unusable(error: &io::Error) -> bool {
    // Windows also refuses what is about to be removed.
    Untrusted::from_error(error).is_some() || (cfg!(unix) && error.kind() == io::ErrorKind::PermissionDenied)
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
