//! The store as its owner sees it: what is in it, what goes, what is damaged.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use super::{BlobStore, PARTIAL, StoreError, incoming, remove};
use crate::image::digest::{Algorithm, Digest, Verified};
use crate::interrupt::{Interruptible, is_raised};

/// The blobs that a state directory keeps: layers, manifests and configs that were downloaded.
#[derive(Debug)]
pub struct Cache {
    store: BlobStore,
}

/// A blob that is kept, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheEntry {
    /// The digest of the whole blob.
    pub digest: Digest,
    /// Bytes that there are.
    pub size: u64,
    /// When a build used it last.
    pub last_used: SystemTime,
    /// Whether it is only the beginning of the blob, of a download that was not completed.
    pub is_partial: bool,
}

impl Cache {
    /// The cache in a state directory, which need not exist.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self {
            store: BlobStore::new(state_dir),
        }
    }

    /// All that is kept, the most recently used first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Read`].
    pub fn entries(&self) -> Result<Vec<CacheEntry>, StoreError> {
        let mut entries = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let directory = self.store.directory.join(algorithm.name());
            let failed = |source| StoreError::Read {
                path: directory.clone(),
                source,
            };
            let files = match fs::read_dir(&directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                files => files.map_err(failed)?,
            };
            for file in files {
                entries.extend(entry(algorithm, &file.map_err(failed)?).map_err(failed)?);
            }
        }
        entries.sort_by(|a, b| (b.last_used, &a.digest).cmp(&(a.last_used, &b.digest)));
        Ok(entries)
    }

    /// Removes what was not used for longest, until at most `limit` bytes are left; says what that was.
    ///
    /// What somebody is downloading stays. What somebody is reading can be read on.
    ///
    /// # Errors
    ///
    /// [`StoreError::Read`], [`StoreError::Write`] and [`StoreError::Lock`].
    pub fn trim(&self, limit: u64) -> Result<Vec<CacheEntry>, StoreError> {
        incoming::sweep(&self.store);
        let mut kept = 0_u64;
        let mut removed = Vec::new();
        for entry in self.entries()? {
            // Once one does not fit, no older one stays in its place.
            kept = kept.saturating_add(entry.size);
            if kept > limit && self.remove(&entry)? {
                removed.push(entry);
            }
        }
        Ok(removed)
    }

    /// Holds every blob against its digest, and removes those that are damaged; says which. Stops, with what it found
    /// so far, when `interrupted` is set.
    ///
    /// # Errors
    ///
    /// [`StoreError::Read`] and [`StoreError::Write`].
    pub fn verify(&self, interrupted: &Arc<AtomicBool>) -> Result<Vec<CacheEntry>, StoreError> {
        let mut damaged = Vec::new();
        for entry in self.entries()?.into_iter().filter(|entry| !entry.is_partial) {
            let path = self.path(&entry);
            let file = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file.map_err(|source| StoreError::Read {
                    path: path.clone(),
                    source,
                })?,
            };
            let mut blob = Verified::new(Interruptible::new(file, interrupted), entry.digest.clone(), None);
            let is_damaged = blob.drain().is_err() || blob.finish().is_err();
            if is_raised(interrupted) {
                break;
            }
            // What cannot be read is as good as damaged: the disk will not get better.
            if is_damaged {
                remove(path)?;
                damaged.push(entry);
            }
        }
        Ok(damaged)
    }

    fn remove(&self, entry: &CacheEntry) -> Result<bool, StoreError> {
        if entry.is_partial {
            let Some(_lock) = self.store.try_lock(&entry.digest)? else {
                return Ok(false);
            };
            remove(self.path(entry))?;
        } else {
            remove(self.path(entry))?;
        }
        Ok(true)
    }

    fn path(&self, entry: &CacheEntry) -> PathBuf {
        if entry.is_partial {
            self.store.partial_path(&entry.digest)
        } else {
            self.store.path(&entry.digest)
        }
    }
}

/// What a file is; none if it is nothing of ours, or gone.
fn entry(algorithm: Algorithm, file: &fs::DirEntry) -> io::Result<Option<CacheEntry>> {
    let name = file.file_name();
    let name = name.to_string_lossy();
    let (hex, is_partial) = match name.strip_suffix(PARTIAL).and_then(|rest| rest.strip_suffix('.')) {
        Some(hex) => (hex, true),
        None => (&*name, false),
    };
    let Ok(digest) = format!("{}:{hex}", algorithm.name()).parse() else {
        return Ok(None);
    };
    let metadata = match file.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata?,
    };
    Ok(Some(CacheEntry {
        digest,
        size: metadata.len(),
        last_used: metadata.modified()?,
        is_partial,
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::*;
    use crate::image::blobs::Begin;

    /// A cache of a blob for each letter, the first the most recently used, and the beginning of one, used last of all.
    fn cache(letters: &str) -> (tempfile::TempDir, Cache) {
        let state = tempfile::tempdir().unwrap();
        let cache = Cache::new(state.path());
        for (age, letter) in letters.bytes().enumerate() {
            let content = [letter; 10];
            let digest = Digest::of(Algorithm::Sha256, &content);
            cache.store.put(&digest, &content).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age as u64);
            let file = File::options().write(true).open(cache.store.path(&digest)).unwrap();
            file.set_modified(time).unwrap();
        }
        let Begin::Partial(mut partial) = cache.store.begin(&beginning(), 10, &AtomicBool::new(false)).unwrap() else {
            panic!("not to be begun")
        };
        partial.write(b"12345").unwrap();
        (state, cache)
    }

    fn beginning() -> Digest {
        Digest::of(Algorithm::Sha256, b"1234567890")
    }

    fn contents(cache: &Cache) -> Vec<Option<char>> {
        let blob = |entry: CacheEntry| {
            assert_eq!(entry.size, if entry.is_partial { 5 } else { 10 });
            (!entry.is_partial).then(|| fs::read_to_string(cache.path(&entry)).unwrap().chars().next().unwrap())
        };
        cache.entries().unwrap().into_iter().map(blob).collect()
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let (_state, cache) = cache("abcd");
        assert_eq!(contents(&cache), [None, Some('a'), Some('b'), Some('c'), Some('d')]);
        assert_eq!(cache.trim(45).unwrap(), []);
        assert_eq!(cache.trim(44).unwrap().len(), 1);
        let used = Digest::of(Algorithm::Sha256, &[b'c'; 10]);
        cache.store.get(&used, 10).unwrap().unwrap();
        assert_eq!(cache.trim(20).unwrap().len(), 2);
        assert_eq!(contents(&cache), [Some('c'), None]);
        cache.trim(0).unwrap();
        assert_eq!(contents(&cache), []);
    }

    #[test]
    fn what_is_being_downloaded_stays() {
        let (_state, cache) = cache("a");
        let downloading = cache.store.begin(&beginning(), 10, &AtomicBool::new(false)).unwrap();
        assert_eq!(cache.trim(0).unwrap().len(), 1);
        assert_eq!(contents(&cache), [None]);
        drop(downloading);
        assert_eq!(cache.trim(0).unwrap().len(), 1);
        assert_eq!(contents(&cache), []);
    }

    #[test]
    fn what_is_damaged_is_found_and_removed() {
        let (_state, cache) = cache("abc");
        let interrupted = Arc::new(AtomicBool::new(false));
        assert_eq!(cache.verify(&interrupted).unwrap(), []);
        let damaged = Digest::of(Algorithm::Sha256, &[b'b'; 10]);
        fs::write(cache.store.path(&damaged), [b'x'; 10]).unwrap();
        interrupted.store(true, Ordering::Relaxed);
        assert_eq!(
            cache.verify(&interrupted).unwrap(),
            [],
            "what was not read is not damaged"
        );
        interrupted.store(false, Ordering::Relaxed);
        let found = cache.verify(&interrupted).unwrap();
        assert_eq!(found.iter().map(|entry| &entry.digest).collect::<Vec<_>>(), [&damaged]);
        assert_eq!(contents(&cache), [None, Some('a'), Some('c')]);
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let (state, cache) = cache("a");
        let file = state.path().join("blobs/sha256/README");
        fs::write(&file, "mine").unwrap();
        cache.trim(0).unwrap();
        assert_eq!(cache.entries().unwrap(), []);
        assert!(file.exists());
        assert_eq!(Cache::new(Path::new("/nonexistent")).entries().unwrap(), []);
    }
}
