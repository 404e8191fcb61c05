//! Maintenance of the blob store: `cache ls`, `cache prune`, `cache verify`, and eviction after a
//! build.

use std::error::Error as _;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::{
    ALGORITHMS, BlobStore, PARTIAL, StoreError, Subdirectory, incoming, is_unusable, none_if_missing, partial_name,
    remove_entry,
};
use crate::digest::{Algorithm, Digest, VerifyingReader};
use crate::host::{Access, Directory, Entry, EntryKind, Untrusted};
use layer::cancel::{Cancel, Cancellable, Cancelled};
use layer::text::harmless;

/// The blobs that a state directory keeps: layers, manifests and configs that were downloaded.
#[derive(Debug)]
pub struct Cache {
    store: BlobStore,
}

/// A blob in the store, or the beginning of a download.
///
/// Its JSON is that of the command `microagent cache`:
///
/// | member | |
/// |---|---|
/// | `digest` | [`digest`](Self::digest) as text |
/// | `size_bytes` | [`size`](Self::size) |
/// | `last_used` | [`last_used`](Self::last_used) in whole seconds since 1970 |
/// | `complete` | `false` if it is [`partial`](Self::partial) |
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheEntry {
    /// The digest of the whole blob.
    pub digest: Digest,
    /// Size of the file in bytes.
    pub size: u64,
    /// Time at which a build last used it.
    pub last_used: SystemTime,
    /// Set if the file is only the beginning of the blob, from an incomplete download.
    pub partial: bool,
}

/// Result of an operation on the store: the blobs that it listed or removed, and its failures.
///
/// Its JSON is that of the command `microagent cache`:
///
/// | member | |
/// |---|---|
/// | `blobs` | [`entries`](Self::entries) |
/// | `size_bytes` | [`size`](Self::size) |
/// | `problems` | [`warnings`](Self::warnings) |
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct CacheReport {
    /// The blobs.
    pub entries: Vec<CacheEntry>,
    /// Failures. The operation went on after each of them.
    pub problems: Vec<StoreError>,
}

/// Entries of the store that have the name of a blob or of the beginning of one.
#[derive(Default)]
struct Listing {
    /// Regular files, the most recently used first.
    blobs: Vec<CacheEntry>,
    /// Entries that are not regular files, and so cannot be blobs.
    others: Vec<(CacheEntry, EntryKind)>,
    /// Directories and entries that could not be read.
    problems: Vec<StoreError>,
}

impl Cache {
    /// Default limit on the cache after a build, in bytes: 20 GiB.
    pub const DEFAULT_LIMIT: u64 = 20 << 30;

    /// Returns the cache in a state directory, which may be missing.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self {
            store: BlobStore::new(state_dir),
        }
    }

    /// Lists all blobs, the most recently used first. An entry that has the name of a blob and is
    /// not a regular file is reported as a problem.
    ///
    /// # Errors
    ///
    /// [`StoreError::Read`] and [`StoreError::Refused`] if the state directory, or a directory in
    /// it, cannot be used.
    pub fn entries(&self) -> Result<CacheReport, StoreError> {
        let Listing {
            blobs,
            others,
            mut problems,
        } = self.list()?;
        if !problems.is_empty() {
            return Err(problems.swap_remove(0));
        }
        let refused = |(entry, kind): (CacheEntry, EntryKind)| {
            let path = self.subdirectory_path(&entry).join(name(&entry));
            StoreError::read(path, Untrusted::NotAFile(kind).into())
        };
        Ok(CacheReport {
            entries: blobs,
            problems: others.into_iter().map(refused).collect(),
        })
    }

    /// Evicts the least recently used blobs until at most `limit` bytes are left, or all blobs if
    /// `limit` is 0. Also removes entries that have the name of a blob and are not regular files.
    /// Returns what was removed.
    ///
    /// Blobs that a process is downloading are kept. A process that is reading a blob can go on.
    ///
    /// # Errors
    ///
    /// [`StoreError::Read`] and [`StoreError::Refused`] if the state directory cannot be used. An
    /// entry that cannot be removed is reported as a problem, and the others are removed
    /// nevertheless.
    pub fn trim(&self, limit: u64) -> Result<CacheReport, StoreError> {
        let (blobs, mut report) = self.remove_others()?;
        report.problems.extend(incoming::sweep(&self.store));
        let mut kept = 0_u64;
        for entry in blobs {
            // After the first blob over the limit, older ones go too, even if they would fit.
            kept = kept.saturating_add(entry.size);
            if kept > limit || limit == 0 {
                tracing::debug!(digest = %entry.digest, size = entry.size, limit, "evicts a blob");
                report.record_removal(self.remove(entry));
            }
        }
        Ok(report)
    }

    /// Verifies the digest of every blob. Removes damaged blobs, and entries that no build could
    /// read. Returns what was removed. When it is cancelled, it stops and returns what it removed
    /// so far.
    ///
    /// # Errors
    ///
    /// As [`Cache::trim`].
    pub fn verify(&self, cancel: &Cancel) -> Result<CacheReport, StoreError> {
        let (blobs, mut report) = self.remove_others()?;
        for entry in blobs.into_iter().filter(|entry| !entry.partial) {
            match self.is_damaged(&entry, cancel) {
                Ok(false) => {}
                Ok(true) => {
                    tracing::info!(digest = %entry.digest, size = entry.size, "the blob is damaged, and is removed");
                    report.record_removal(self.remove(entry));
                }
                Err(problem) if Cancelled::caused(&problem) => break,
                Err(problem) => report.problems.push(problem),
            }
        }
        Ok(report)
    }

    /// Removes entries that have the name of a blob or a lock and are not regular files. Returns
    /// the blobs, and a report with the removed entries.
    fn remove_others(&self) -> Result<(Vec<CacheEntry>, CacheReport), StoreError> {
        let Listing {
            blobs,
            others,
            problems,
        } = self.list()?;
        let mut report = CacheReport {
            entries: Vec::new(),
            problems,
        };
        if let Err(problem) = self.sweep_locks(&mut report.problems) {
            report.problems.push(problem);
        }
        for (entry, _) in others {
            report.record_removal(self.remove(entry));
        }
        Ok((blobs, report))
    }

    fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        // A missing directory has no blobs; one that cannot be opened is an error.
        self.store.find_blobs_directory()?;
        for algorithm in ALGORITHMS {
            if let Err(problem) = self.list_algorithm(algorithm, &mut listing) {
                listing.problems.push(problem);
            }
        }
        let blobs = &mut listing.blobs;
        blobs.sort_by(|a, b| (b.last_used, &a.digest).cmp(&(a.last_used, &b.digest)));
        Ok(listing)
    }

    fn list_algorithm(&self, algorithm: Algorithm, listing: &mut Listing) -> Result<(), StoreError> {
        let Some(directory) = self.store.find_subdirectory(Subdirectory::Blobs(algorithm))? else {
            return Ok(());
        };
        let names = directory.names();
        let names = names.map_err(|source| StoreError::read(directory.path().to_owned(), source))?;
        for name in names {
            let Some((digest, partial)) = parse(algorithm, &name) else {
                continue;
            };
            match directory.entry(&name) {
                // Another process has removed it.
                Ok(None) => {}
                Ok(Some(Entry {
                    kind, len, modified, ..
                })) => {
                    let entry = CacheEntry {
                        digest,
                        size: if kind == EntryKind::File { len } else { 0 },
                        last_used: modified,
                        partial,
                    };
                    match kind {
                        EntryKind::File => listing.blobs.push(entry),
                        kind => listing.others.push((entry, kind)),
                    }
                }
                Err(source) => listing
                    .problems
                    .push(StoreError::read(directory.path().join(name), source)),
            }
        }
        Ok(())
    }

    /// Removes entries of the directory of locks that are not regular files, and so cannot be
    /// locks. Lock files are kept.
    fn sweep_locks(&self, problems: &mut Vec<StoreError>) -> Result<(), StoreError> {
        let Some(directory) = self.store.find_subdirectory(Subdirectory::Locks)? else {
            return Ok(());
        };
        let names = directory.names();
        for name in names.map_err(|source| StoreError::read(directory.path().to_owned(), source))? {
            let removed = match directory.kind(&name) {
                Ok(None | Some(EntryKind::File)) => Ok(()),
                Ok(Some(_)) => remove_entry(&directory, &name),
                Err(error) => Err(error),
            };
            if let Err(source) = removed {
                problems.push(StoreError::write(directory.path().join(name), source));
            }
        }
        Ok(())
    }

    /// Returns whether the digest of a blob is wrong, or no build can open the blob.
    fn is_damaged(&self, entry: &CacheEntry, cancel: &Cancel) -> Result<bool, StoreError> {
        let Some(directory) = self.directory(entry)? else {
            return Ok(false);
        };
        let file = match none_if_missing(directory.open_file(name(entry), Access::Read)) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(false),
            Err(error) if is_unusable(&error) => return Ok(true),
            Err(source) => return Err(StoreError::read(directory.path().join(name(entry)), source)),
        };
        let mut blob = VerifyingReader::new(Cancellable::new(file, cancel), entry.digest.clone(), None);
        match blob.drain() {
            Err(source) if Cancelled::caused(&source) => {
                Err(StoreError::read(directory.path().join(name(entry)), source))
            }
            // An unreadable blob is as good as damaged: the disk will not get better.
            drained => Ok(drained.is_err() || blob.finish().is_err()),
        }
    }

    /// Removes an entry and returns it. Returns `None`, and removes nothing, while it is being
    /// downloaded.
    fn remove(&self, entry: CacheEntry) -> Result<Option<CacheEntry>, StoreError> {
        let Some(directory) = self.directory(&entry)? else {
            return Ok(Some(entry));
        };
        let _lock = if entry.partial {
            match self.store.try_lock(&entry.digest)? {
                None => return Ok(None),
                lock => lock,
            }
        } else {
            None
        };
        let name = name(&entry);
        let removed = remove_entry(&directory, &name);
        removed.map_err(|source| StoreError::write(directory.path().join(name), source))?;
        Ok(Some(entry))
    }

    fn directory(&self, entry: &CacheEntry) -> Result<Option<Directory>, StoreError> {
        self.store
            .find_subdirectory(Subdirectory::Blobs(entry.digest.algorithm()))
    }

    /// Returns the path of the directory of an entry, for messages.
    fn subdirectory_path(&self, entry: &CacheEntry) -> PathBuf {
        self.store
            .subdirectory_path(Subdirectory::Blobs(entry.digest.algorithm()))
    }
}

impl CacheReport {
    /// Returns the total size of the blobs in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.entries.iter().map(|entry| entry.size).sum()
    }

    /// Returns each problem with its cause as one line, without terminal control characters.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let warning = |problem: &StoreError| {
            let cause = problem.source().map(|cause| format!(": {cause}"));
            harmless(&format!("{problem}{}", cause.unwrap_or_default()))
        };
        self.problems.iter().map(warning).collect()
    }

    /// Records the result of removing an entry.
    fn record_removal(&mut self, removed: Result<Option<CacheEntry>, StoreError>) {
        match removed {
            Ok(entry) => self.entries.extend(entry),
            Err(problem) => self.problems.push(problem),
        }
    }
}

impl Serialize for CacheEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let last_used = self.last_used.duration_since(UNIX_EPOCH);
        let mut json = serializer.serialize_struct("CacheEntry", 4)?;
        json.serialize_field("digest", &self.digest)?;
        json.serialize_field("size_bytes", &self.size)?;
        json.serialize_field("last_used", &last_used.map_or(0, |since| since.as_secs()))?;
        json.serialize_field("complete", &!self.partial)?;
        json.end()
    }
}

impl Serialize for CacheReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut json = serializer.serialize_struct("CacheReport", 3)?;
        json.serialize_field("blobs", &self.entries)?;
        json.serialize_field("size_bytes", &self.size())?;
        json.serialize_field("problems", &self.warnings())?;
        json.end()
    }
}

/// Returns the name of an entry's file.
fn name(entry: &CacheEntry) -> String {
    if entry.partial {
        partial_name(&entry.digest)
    } else {
        entry.digest.hex().to_owned()
    }
}

/// Parses the name of a file: returns the digest, and whether the file is the beginning of a
/// download. `None` for any other name.
fn parse(algorithm: Algorithm, name: &OsStr) -> Option<(Digest, bool)> {
    let name = name.to_str()?;
    let (hex, partial) = match name.strip_suffix(PARTIAL).and_then(|rest| rest.strip_suffix('.')) {
        Some(hex) => (hex, true),
        None => (name, false),
    };
    let digest = format!("{}:{hex}", algorithm.name()).parse().ok()?;
    Some((digest, partial))
}

#[cfg(test)]
#[cfg(feature = "registry")]
mod tests {
    use std::fs::{self, File};
    use std::time::Duration;

    use super::*;
    use crate::blobs::WriteTicket;

    /// Makes a cache with one blob for each letter, the first being the most recently used, and the
    /// beginning of a download, used after all of them.
    fn cache(letters: &str) -> (tempfile::TempDir, Cache) {
        let state = tempfile::tempdir().unwrap();
        let cache = Cache::new(state.path());
        for (age, letter) in letters.bytes().enumerate() {
            let content = [letter; 10];
            let digest = Digest::of(Algorithm::Sha256, &content);
            cache.store.write_document(&digest, &content).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age as u64);
            let file = File::options().write(true).open(cache.store.path(&digest)).unwrap();
            file.set_modified(time).unwrap();
        }
        let WriteTicket::Granted(mut partial) = cache.store.start_write(&beginning(), 10, &Cancel::new()).unwrap()
        else {
            panic!("the blob cannot be written")
        };
        partial.write(b"12345").unwrap();
        (state, cache)
    }

    fn beginning() -> Digest {
        Digest::of(Algorithm::Sha256, b"1234567890")
    }

    fn entries(cache: &Cache) -> Vec<CacheEntry> {
        without_problems(cache.entries())
    }

    fn trim(cache: &Cache, limit: u64) -> Vec<CacheEntry> {
        without_problems(cache.trim(limit))
    }

    fn without_problems(report: Result<CacheReport, StoreError>) -> Vec<CacheEntry> {
        let CacheReport { entries, problems } = report.unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        entries
    }

    fn contents(cache: &Cache) -> Vec<Option<char>> {
        let blob = |entry: CacheEntry| {
            assert_eq!(entry.size, if entry.partial { 5 } else { 10 });
            (!entry.partial).then(|| {
                fs::read_to_string(cache.subdirectory_path(&entry).join(name(&entry)))
                    .unwrap()
                    .chars()
                    .next()
                    .unwrap()
            })
        };
        entries(cache).into_iter().map(blob).collect()
    }

    #[test]
    fn least_recently_used_blobs_are_evicted_first() {
        let (_state, cache) = cache("abcd");
        assert_eq!(contents(&cache), [None, Some('a'), Some('b'), Some('c'), Some('d')]);
        assert_eq!(trim(&cache, 45), []);
        assert_eq!(trim(&cache, 44).len(), 1);
        let used = Digest::of(Algorithm::Sha256, &[b'c'; 10]);
        cache.store.find_sized(&used, 10).unwrap().unwrap();
        assert_eq!(trim(&cache, 20).len(), 2);
        assert_eq!(contents(&cache), [Some('c'), None]);
        trim(&cache, 0);
        assert_eq!(contents(&cache), []);
    }

    #[test]
    fn json_has_entries_their_size_and_problems() {
        let (_state, cache) = cache("a");
        let mut report = cache.entries().unwrap();
        report.entries[0].last_used = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        let cause = std::io::Error::other("an\x1b[31m error");
        report.problems.push(StoreError::read("/blobs/x".into(), cause));
        let json = format!(
            concat!(
                r#"{{"blobs":[{{"digest":"{}","size_bytes":5,"last_used":0,"complete":false}},"#,
                r#"{{"digest":"{}","size_bytes":10,"last_used":1000,"complete":true}}],"size_bytes":15,"#,
                r#""problems":["could not read /blobs/x in the blob store: an\\u{{1b}}[31m error"]}}"#
            ),
            beginning(),
            Digest::of(Algorithm::Sha256, &[b'a'; 10]),
        );
        assert_eq!(serde_json::to_string(&report).unwrap(), json);
    }

    #[test]
    fn download_in_progress_is_kept() {
        let (_state, cache) = cache("a");
        let downloading = cache.store.start_write(&beginning(), 10, &Cancel::new()).unwrap();
        assert_eq!(trim(&cache, 0).len(), 1);
        assert_eq!(contents(&cache), [None]);
        drop(downloading);
        assert_eq!(trim(&cache, 0).len(), 1);
        assert_eq!(contents(&cache), []);
    }

    #[test]
    fn damaged_blobs_are_removed() {
        let (_state, cache) = cache("abc");
        assert_eq!(without_problems(cache.verify(&Cancel::new())), []);
        let damaged = Digest::of(Algorithm::Sha256, &[b'b'; 10]);
        fs::write(cache.store.path(&damaged), [b'x'; 10]).unwrap();
        let cancel = Cancel::new();
        cancel.cancel();
        assert_eq!(
            without_problems(cache.verify(&cancel)),
            [],
            "blobs that were not read are not damaged"
        );
        let none_if_missing = without_problems(cache.verify(&Cancel::new()));
        assert_eq!(
            none_if_missing.iter().map(|entry| &entry.digest).collect::<Vec<_>>(),
            [&damaged]
        );
        assert_eq!(contents(&cache), [None, Some('a'), Some('c')]);
    }

    #[test]
    fn files_with_other_names_are_kept() {
        let (state, cache) = cache("a");
        let file = state.path().join("blobs/sha256/README");
        fs::write(&file, "mine").unwrap();
        trim(&cache, 0);
        assert_eq!(entries(&cache), []);
        assert!(file.exists());
        assert_eq!(entries(&Cache::new(Path::new("/nonexistent"))), []);
    }
}
