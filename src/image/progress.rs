//! How far each layer is, for whoever wants to watch.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{BlobRef, Digest};

/// How far the layers of an image are. Looked at by another thread; nothing waits for it.
#[derive(Debug, Default)]
pub struct Progress {
    layers: Mutex<Vec<Arc<LayerProgress>>>,
}

/// How far a layer is.
#[derive(Debug)]
pub struct LayerProgress {
    digest: Digest,
    size: u64,
    here: AtomicU64,
    applied: AtomicU64,
    is_finished: AtomicBool,
}

impl Progress {
    /// The layers, lowest first; none before the image was found.
    #[must_use]
    pub fn layers(&self) -> Vec<Arc<LayerProgress>> {
        self.lock().clone()
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
            })
        };
        *self.lock() = blobs.iter().map(layer).collect();
    }

    /// The next layer with this blob that is not finished; one that nobody sees if there is none.
    pub(super) fn layer(&self, digest: &Digest) -> Option<Arc<LayerProgress>> {
        let layers = self.lock();
        let mut open = layers.iter().filter(|layer| !layer.is_finished());
        open.find(|layer| layer.digest == *digest).map(Arc::clone)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<LayerProgress>>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
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
