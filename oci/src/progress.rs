//! Progress of each layer, and waits for servers and other processes, for those who watch.

#[cfg(feature = "registry")]
mod downloads;
mod reporter;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Digest;

#[cfg(feature = "registry")]
pub(super) use downloads::WaitGuard;
pub(super) use reporter::{LayerReporter, Reporter};

/// A report of a source, while an image is found and its layers are downloaded and read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The layers became known, one of them got on, or a wait ended. Comes for every few KiB.
    Progress(Progress),
    /// A wait began: for another attempt, or one that has taken seconds.
    Waiting(Wait),
}

/// The progress of an image's layers: a live view, which any thread may look at. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<SharedProgress>);

#[derive(Debug, Default)]
struct SharedProgress {
    layers: Mutex<LayerList>,
    /// Waits that go on, by number.
    waits: Mutex<BTreeMap<u64, Wait>>,
    /// Sums over all layers.
    size: AtomicU64,
    downloaded: AtomicU64,
    applied: AtomicU64,
}

#[derive(Debug, Default)]
struct LayerList {
    layers: Vec<Arc<LayerProgress>>,
    /// Layers of each blob that were not done when they were looked at last, lowest first: a
    /// manifest may list thousands.
    unfinished: HashMap<Digest, VecDeque<Arc<LayerProgress>>>,
}

/// The progress of a layer.
#[derive(Debug)]
pub struct LayerProgress {
    digest: Digest,
    size: u64,
    downloaded: AtomicU64,
    applied: AtomicU64,
    done: AtomicBool,
}

/// A wait for a registry, for a server that it refers to, or for another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    number: u64,
    reason: WaitReason,
}

/// The end of a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitReason {
    /// The next attempt, after one that failed in a way that may pass.
    Attempt {
        /// Host and port of the server.
        host: String,
        /// Time of the attempt.
        at: Instant,
        /// Its number, of which the first attempt has 1.
        number: u32,
        /// Limit on attempts.
        of: u32,
    },
    /// An answer, or more of it.
    Answer {
        /// Host and port of the server.
        host: String,
        /// Time of the request, or of the last bytes.
        since: Instant,
    },
    /// A lock that another build holds, to download the same blob or one that shares the lock.
    Lock {
        /// The blob that is needed.
        digest: Digest,
        /// The lock.
        path: PathBuf,
    },
}

impl Progress {
    /// Returns the layers, lowest first; none before the image was found.
    #[must_use]
    pub fn layers(&self) -> Vec<Arc<LayerProgress>> {
        self.lock().layers.clone()
    }

    /// Returns what is waited for, in the order in which the waits began.
    #[must_use]
    pub fn waits(&self) -> Vec<Wait> {
        self.lock_waits().values().cloned().collect()
    }

    /// Returns the bytes of the blobs of all layers, by the manifest.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size.load(Ordering::Relaxed)
    }

    /// Returns the bytes of blobs that are on this machine.
    #[must_use]
    pub fn downloaded(&self) -> u64 {
        self.0.downloaded.load(Ordering::Relaxed)
    }

    /// Returns the bytes of blobs that were read to be applied. A blob that is read again counts
    /// from its beginning again.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.0.applied.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, LayerList> {
        self.0.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_waits(&self) -> MutexGuard<'_, BTreeMap<u64, Wait>> {
        self.0.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LayerProgress {
    /// Returns the digest of the blob.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the size of the blob in bytes, by the manifest.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the bytes of the blob that are on this machine.
    #[must_use]
    pub fn downloaded(&self) -> u64 {
        self.downloaded.load(Ordering::Relaxed)
    }

    /// Returns the bytes of the blob that were read to be applied.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    /// Returns whether all of it is in the disk image.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }
}

impl Wait {
    /// Returns a number that no other wait has.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the end of the wait.
    #[must_use]
    pub fn reason(&self) -> &WaitReason {
        &self.reason
    }
}
