//! Progress of each layer, and the waits for servers, for those who watch a build.

#[cfg(feature = "registry")]
mod waiting;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{BlobRef, Digest};

/// How far the layers of an image are. Looked at by another thread; nothing waits for it.
#[derive(Debug, Default)]
pub struct Progress {
    state: Mutex<State>,
    /// Waits that go on, by number.
    waits: Mutex<BTreeMap<u64, Wait>>,
}

/// A wait for a registry, or for a server that it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    number: u64,
    host: String,
    awaited: Awaited,
}

/// The end of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Awaited {
    /// The next attempt, after one that failed in a way that may pass.
    Attempt {
        /// Its time.
        at: Instant,
        /// Its number, of which the first attempt has 1.
        number: u32,
        /// Limit on attempts.
        of: u32,
    },
    /// An answer, or more of it.
    Answer {
        /// The time of the request, or of the last bytes.
        since: Instant,
    },
}

#[derive(Debug, Default)]
struct State {
    layers: Vec<Arc<LayerProgress>>,
    /// Of each blob the layers that were not finished when they were looked at last, lowest first:
    /// a manifest may list thousands.
    open: HashMap<Digest, VecDeque<Arc<LayerProgress>>>,
}

/// How far a layer is.
#[derive(Debug)]
pub struct LayerProgress {
    digest: Digest,
    size: u64,
    here: AtomicU64,
    applied: AtomicU64,
    is_finished: AtomicBool,
    awaited_lock: Mutex<Option<PathBuf>>,
}

impl Progress {
    /// The layers, lowest first; none before the image was found.
    #[must_use]
    pub fn layers(&self) -> Vec<Arc<LayerProgress>> {
        self.lock().layers.clone()
    }

    /// Returns what is waited for, in the order in which the waits began.
    #[must_use]
    pub fn waits(&self) -> Vec<Wait> {
        self.lock_waits().values().cloned().collect()
    }

    fn lock_waits(&self) -> MutexGuard<'_, BTreeMap<u64, Wait>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins with the layers of an image.
    pub(super) fn begin(&self, blobs: &[BlobRef]) {
        let layer = |blob: &BlobRef| {
            Arc::new(LayerProgress {
                digest: blob.digest.clone(),
                size: blob.size,
                here: AtomicU64::new(0),
                applied: AtomicU64::new(0),
                is_finished: AtomicBool::new(false),
                awaited_lock: Mutex::default(),
            })
        };
        let layers: Vec<_> = blobs.iter().map(layer).collect();
        let mut open = HashMap::<_, VecDeque<_>>::new();
        for layer in &layers {
            open.entry(layer.digest.clone())
                .or_default()
                .push_back(Arc::clone(layer));
        }
        *self.lock() = State { layers, open };
    }

    /// The next layer with this blob that is not finished; one that nobody sees if there is none.
    pub(super) fn layer(&self, digest: &Digest) -> Option<Arc<LayerProgress>> {
        let mut state = self.lock();
        let open = state.open.get_mut(digest)?;
        while open.pop_front_if(|layer| layer.is_finished()).is_some() {}
        open.front().map(Arc::clone)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait {
    /// Returns a number that no other wait has.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns host and port of the server that is waited for.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the end of the wait.
    #[must_use]
    pub fn awaited(&self) -> Awaited {
        self.awaited
    }
}

impl LayerProgress {
    /// The digest of the blob.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The size of the blob in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of the blob that are on this machine.
    #[must_use]
    pub fn here(&self) -> u64 {
        self.here.load(Ordering::Relaxed).min(self.size)
    }

    /// Bytes of the blob that were read to be applied.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed).min(self.size)
    }

    /// Whether all of it is in the disk image.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::Relaxed)
    }

    /// Returns the lock that another build has held for some seconds, while the download of this
    /// blob waits for it.
    #[must_use]
    pub fn awaited_lock(&self) -> Option<PathBuf> {
        self.awaited_lock.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_here(&self, len: u64) {
        self.here.store(len, Ordering::Relaxed);
    }

    /// The blob is read from its beginning, for the second time perhaps.
    pub(super) fn begin(&self) {
        self.applied.store(0, Ordering::Relaxed);
    }

    pub(super) fn apply(&self, len: usize) {
        self.applied.fetch_add(len as u64, Ordering::Relaxed);
    }

    pub(super) fn finish(&self) {
        self.set_here(self.size);
        self.is_finished.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;

    #[test]
    fn layers_with_the_same_blob_are_finished_one_after_the_other() {
        let blob = |content: &[u8]| BlobRef {
            digest: Digest::of(Algorithm::Sha256, content),
            size: 1,
        };
        let (one, two) = (blob(b"1"), blob(b"2"));
        let progress = Progress::default();
        assert!(progress.layer(&one.digest).is_none());
        progress.begin(&[one.clone(), two.clone(), one.clone()]);
        for finished in 0..2 {
            let layer = progress.layer(&one.digest).unwrap();
            assert!(Arc::ptr_eq(&layer, &progress.layers()[2 * finished]));
            layer.finish();
        }
        assert!(progress.layer(&one.digest).is_none());
        assert!(progress.layer(&two.digest).is_some());
    }

    #[test]
    fn many_layers_are_found_in_linear_time() {
        // A search through all of them would take minutes.
        let blobs: Vec<_> = (0..200_000_u32)
            .map(|number| BlobRef {
                digest: Digest::of(Algorithm::Sha256, &number.to_le_bytes()),
                size: 1,
            })
            .collect();
        let progress = Progress::default();
        progress.begin(&blobs);
        for blob in &blobs {
            progress.layer(&blob.digest).unwrap().finish();
        }
        assert!(blobs.iter().all(|blob| progress.layer(&blob.digest).is_none()));
    }
}
