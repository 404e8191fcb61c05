//! Progress of each layer, and waits for servers and other processes, for listeners.

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

/// An event of a source, while it resolves an image and downloads and reads its layers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The layers became known, one of them advanced, or a wait ended. Emitted for every few KiB.
    Progress(Progress),
    /// A wait began: for the next attempt, or one that has already taken seconds.
    Waiting(Wait),
}

/// Progress of an image's layers: a live view for any thread. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<SharedProgress>);

/// The state that clones of a [`Progress`] share.
#[derive(Debug, Default)]
struct SharedProgress {
    layers: Mutex<LayerList>,
    /// Waits in progress, by number.
    waits: Mutex<BTreeMap<u64, Wait>>,
    /// Totals over all layers, in bytes.
    size: AtomicU64,
    downloaded: AtomicU64,
    applied: AtomicU64,
}

/// The layers of an image.
#[derive(Debug, Default)]
struct LayerList {
    layers: Vec<Arc<LayerProgress>>,
    /// Layers of each blob that were not done when last looked at, lowest first. A map, because a
    /// manifest may list thousands.
    unfinished: HashMap<Digest, VecDeque<Arc<LayerProgress>>>,
}

/// Progress of a layer.
#[derive(Debug)]
pub struct LayerProgress {
    digest: Digest,
    size: u64,
    downloaded: AtomicU64,
    applied: AtomicU64,
    done: AtomicBool,
}

/// A wait for a registry, for another server that it refers to, or for another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    number: u64,
    reason: WaitReason,
}

/// The event that a wait is for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitReason {
    /// The next attempt, after one that failed for a reason that may pass.
    Attempt {
        /// Host and port of the server.
        host: String,
        /// Time of the next attempt.
        at: Instant,
        /// Number of the next attempt; the first attempt is 1.
        number: u32,
        /// Limit on attempts.
        of: u32,
    },
    /// A response, or more of it.
    Answer {
        /// Host and port of the server.
        host: String,
        /// Time of the request, or of the last bytes.
        since: Instant,
    },
    /// A lock that another build holds while it downloads the same blob, or one that shares the
    /// lock.
    Lock {
        /// Digest of the needed blob.
        digest: Digest,
        /// Path of the lock file.
        path: PathBuf,
    },
}

impl Progress {
    /// Returns the layers, lowest first; empty until the image is resolved.
    #[must_use]
    pub fn layers(&self) -> Vec<Arc<LayerProgress>> {
        self.lock().layers.clone()
    }

    /// Returns the waits in progress, in the order in which they began.
    #[must_use]
    pub fn waits(&self) -> Vec<Wait> {
        self.lock_waits().values().cloned().collect()
    }

    /// Returns the size of all blobs in bytes, by the manifest.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size.load(Ordering::Relaxed)
    }

    /// Returns how many bytes of all blobs are on this machine.
    #[must_use]
    pub fn downloaded(&self) -> u64 {
        self.0.downloaded.load(Ordering::Relaxed)
    }

    /// Returns how many bytes of all blobs were read to be applied. A blob that is read again
    /// counts from 0 again.
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

    /// Returns whether the whole layer is in the disk image.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }
}

impl Wait {
    /// Returns a number that is unique among the waits of this process.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the event that the wait is for.
    #[must_use]
    pub fn reason(&self) -> &WaitReason {
        &self.reason
    }
}
