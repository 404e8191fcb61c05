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
//!
//! Everything is reached by descriptor, from the state directory on, and through no symlink. What
//! another user owns or can change is refused: it is not this store's, since files are made with
//! mode 0600, and directories with 0700.

mod cache;
mod error;
mod incoming;
mod keep;
mod partial;

use std::ffi::{OsStr, OsString};
use std::fs::{File, FileTimes, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use super::digest::{Algorithm, Digest};
use super::manifest::MAX_DOCUMENT_LEN;
use crate::host::{Access, Directory, EntryKind, Untrusted};
use incoming::Incoming;
use layer::cancel::Cancel;

pub use cache::{Cache, CacheEntry, CacheReport};
pub use error::StoreError;
pub use keep::Keep;
pub(super) use partial::Partial;

/// A store of blobs in a state directory.
#[derive(Debug, Clone)]
pub(super) struct BlobStore {
    state_dir: PathBuf,
    /// The directory `blobs`, once it was opened: from then on, all is the same store, whatever
    /// becomes of the path.
    blobs: Arc<OnceLock<Directory>>,
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

/// Progress under a lock: the beginnings of blobs that share it, and their lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LockActivity(Vec<(OsString, u64)>);

/// A directory of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Folder {
    Blobs(Algorithm),
    Incoming,
    Locks,
}

impl Folder {
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
        store.find_blobs()?;
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

    /// The blob, if the store has it. A file of another size is not it.
    pub(super) fn get(&self, digest: &Digest, size: u64) -> Result<Option<File>, StoreError> {
        Ok(match self.open_blob(digest)? {
            Some((file, len)) if len == size => {
                mark_used(&file);
                Some(file)
            }
            _ => None,
        })
    }

    /// A blob of any size, and its size in bytes, if the store has it.
    pub(super) fn find(&self, digest: &Digest) -> Option<(File, u64)> {
        let (file, size) = self.open_blob(digest).ok()??;
        mark_used(&file);
        Some((file, size))
    }

    /// An index, a manifest or a config, if the store has it. One that is damaged is removed.
    pub(super) fn document(&self, digest: &Digest, size: Option<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((file, _)) = self.open_blob(digest)? else {
            return Ok(None);
        };
        let mut content = Vec::new();
        (&file)
            .take(MAX_DOCUMENT_LEN + 1)
            .read_to_end(&mut content)
            .map_err(|source| StoreError::read(self.path(digest), source))?;
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

    /// Begins to write a blob, or goes on where somebody stopped, which must be read first, unless that is cancelled.
    pub(super) fn begin(&self, digest: &Digest, size: u64, cancel: &Cancel) -> Result<Begin, StoreError> {
        let Some(lock) = self.try_lock(digest)? else {
            return Ok(Begin::Taken);
        };
        if self.get(digest, size)?.is_some() {
            return Ok(Begin::Stored);
        }
        let folder = self.make_folder(Folder::Blobs(digest.algorithm()))?;
        Partial::open(folder, digest, size, lock, cancel).map(|partial| Begin::Partial(Box::new(partial)))
    }

    /// Opens what there is of a blob that is being written.
    pub(super) fn open_partial(&self, digest: &Digest) -> Result<File, StoreError> {
        let name = partial_name(digest);
        let failed = |source| StoreError::read(self.path(digest).with_file_name(&name), source);
        match self.find_folder(Folder::Blobs(digest.algorithm()))? {
            Some(folder) => folder.open_file(&name, Access::Read).map_err(failed),
            None => Err(failed(io::ErrorKind::NotFound.into())),
        }
    }

    /// Returns what there is of blobs that share a lock. While nothing of it changes, nobody gets
    /// on who has the lock.
    pub(super) fn lock_activity(&self, digest: &Digest) -> Result<LockActivity, StoreError> {
        let mut lens = Vec::new();
        for algorithm in ALGORITHMS {
            let Some(folder) = self.find_folder(Folder::Blobs(algorithm))? else {
                continue;
            };
            let failed = |source| StoreError::read(folder.path().to_owned(), source);
            for name in folder.names().map_err(failed)? {
                let is_partial = Path::new(&name)
                    .extension()
                    .is_some_and(|extension| extension == PARTIAL);
                if is_partial && name.as_encoded_bytes().starts_with(lock_name(digest).as_bytes()) {
                    lens.extend(folder.entry(&name).map_err(failed)?.map(|entry| (name, entry.len)));
                }
            }
        }
        lens.sort();
        Ok(LockActivity(lens))
    }

    /// Removes a blob, if the store has it.
    pub(super) fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        match self.find_folder(Folder::Blobs(digest.algorithm()))? {
            Some(folder) => remove(&folder, digest.hex()),
            None => Ok(()),
        }
    }

    /// Path of the lock that a blob is written under.
    pub(super) fn lock_path(&self, digest: &Digest) -> PathBuf {
        self.folder_path(Folder::Locks).join(lock_name(digest))
    }

    /// Returns whether an entry has the name of a blob.
    fn has_entry(&self, digest: &Digest) -> bool {
        let folder = self.find_folder(Folder::Blobs(digest.algorithm()));
        folder.is_ok_and(|folder| folder.is_some_and(|folder| !matches!(folder.kind(digest.hex()), Ok(None))))
    }

    /// Opens a blob, and returns its size in bytes too, if the store has it.
    fn open_blob(&self, digest: &Digest) -> Result<Option<(File, u64)>, StoreError> {
        let Some(folder) = self.find_folder(Folder::Blobs(digest.algorithm()))? else {
            return Ok(None);
        };
        let open = || {
            let file = folder.open_file(digest.hex(), Access::Read)?;
            let len = file.metadata()?.len();
            Ok((file, len))
        };
        found(open()).map_err(|source| StoreError::read(self.path(digest), source))
    }

    /// Locks the right to write a blob. None while somebody else has it.
    fn try_lock(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        let failed = |source| StoreError::lock(self.lock_path(digest), source);
        let locks = self.make_folder(Folder::Locks)?;
        let file = locks.open_file(lock_name(digest), Access::Create).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Opens one of its directories, if it is there.
    fn find_folder(&self, folder: Folder) -> Result<Option<Directory>, StoreError> {
        let Some(blobs) = self.find_blobs()? else {
            return Ok(None);
        };
        found(blobs.private(folder.name(), false)).map_err(|source| StoreError::read(self.folder_path(folder), source))
    }

    /// Opens one of its directories, and makes what is missing on the way there.
    fn make_folder(&self, folder: Folder) -> Result<Directory, StoreError> {
        let blobs = match self.find_blobs()? {
            Some(blobs) => blobs,
            None => self.make_blobs()?,
        };
        blobs
            .private(folder.name(), true)
            .map_err(|source| StoreError::write(self.folder_path(folder), source))
    }

    fn find_blobs(&self) -> Result<Option<&Directory>, StoreError> {
        if let Some(blobs) = self.blobs.get() {
            return Ok(Some(blobs));
        }
        let state = Directory::find_private(&self.state_dir);
        let state = state.map_err(|source| StoreError::read(self.state_dir.clone(), source))?;
        let Some(state) = state else { return Ok(None) };
        let blobs = found(state.private(BLOBS, false));
        let blobs = blobs.map_err(|source| StoreError::read(self.state_dir.join(BLOBS), source))?;
        Ok(blobs.map(|blobs| self.blobs.get_or_init(|| blobs)))
    }

    fn make_blobs(&self) -> Result<&Directory, StoreError> {
        let state = Directory::open_private(&self.state_dir);
        let state = state.map_err(|source| StoreError::write(self.state_dir.clone(), source))?;
        let blobs = state.private(BLOBS, true);
        let blobs = blobs.map_err(|source| StoreError::write(self.state_dir.join(BLOBS), source))?;
        Ok(self.blobs.get_or_init(|| blobs))
    }

    fn folder_path(&self, folder: Folder) -> PathBuf {
        self.state_dir.join(BLOBS).join(folder.name())
    }

    /// Path of a blob, for messages.
    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder_path(Folder::Blobs(digest.algorithm())).join(digest.hex())
    }

    #[cfg(test)]
    fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.path(digest).with_file_name(partial_name(digest))
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
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file, if it is there.
fn remove(folder: &Directory, name: &str) -> Result<(), StoreError> {
    let removed = found(folder.remove_file(name));
    removed
        .map(drop)
        .map_err(|source| StoreError::write(folder.path().join(name), source))
}

/// Removes whatever has a name, if that is not a directory with something in it.
fn remove_entry(folder: &Directory, name: impl AsRef<OsStr>) -> io::Result<()> {
    let name = name.as_ref();
    let removed = match folder.kind(name)? {
        None => return Ok(()),
        Some(EntryKind::Directory) => folder.remove_directory(name),
        Some(_) => folder.remove_file(name),
    };
    found(removed).map(drop)
}

/// Returns whether no build can open a file, whatever else the system does meanwhile: it is of no
/// use.
fn is_unusable(error: &io::Error) -> bool {
    // Windows also refuses what is about to be removed.
    Untrusted::of(error).is_some() || (cfg!(unix) && error.kind() == io::ErrorKind::PermissionDenied)
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ImageError;
    use crate::digest::{Algorithm, DigestError};
    use layer::cancel::Cancelled;

    const CONTENT: &[u8] = b"abc";

    fn store() -> (tempfile::TempDir, BlobStore, Digest) {
        let state = tempfile::tempdir().unwrap();
        let store = BlobStore::new(state.path());
        (state, store, Digest::of(Algorithm::Sha256, CONTENT))
    }

    fn begin(store: &BlobStore, digest: &Digest) -> Box<Partial> {
        match store.begin(digest, 3, &Cancel::new()).unwrap() {
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
            store.begin(&digest, 3, &Cancel::new()).unwrap(),
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
    fn to_read_what_was_begun_can_be_cancelled() {
        let (state, store, digest) = store();
        begin(&store, &digest).write(b"ab").unwrap();
        let cancel = Cancel::new();
        cancel.cancel();
        assert!(
            store
                .begin(&digest, 3, &cancel)
                .is_err_and(|error| Cancelled::caused(&error))
        );
        assert_eq!(blobs(&state), [format!("{}.partial", digest.hex())]);
        assert_eq!(begin(&store, &digest).len(), 2, "it stays, and is not locked any more");
    }

    #[test]
    fn one_writes_while_others_wait() {
        let (_state, store, digest) = store();
        let partial = begin(&store, &digest);
        assert!(matches!(store.begin(&digest, 3, &Cancel::new()).unwrap(), Begin::Taken));
        store.put(&digest, CONTENT).unwrap();
        drop(partial);
        assert!(matches!(
            store.begin(&digest, 3, &Cancel::new()).unwrap(),
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
