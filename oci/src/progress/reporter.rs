//! Counts the bytes of each layer, and emits an event on each change.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Event, LayerList, LayerProgress, Progress};
use crate::{BlobRef, Digest};
use layer::events::Events;

/// Updates the progress of an image, and emits an event on each change. Clones share the progress
/// and the listener.
///
/// The listener may call anything, so no method may be called with a lock held.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reporter {
    pub(super) progress: Progress,
    pub(super) events: Events<Event>,
}

impl Reporter {
    /// Creates a reporter without layers.
    pub(crate) fn new(events: &Events<Event>) -> Self {
        Self {
            progress: Progress::default(),
            events: events.clone(),
        }
    }

    /// Sets the layers of an image. Replaces those of an earlier attempt.
    pub(crate) fn set_layers(&self, blobs: &[BlobRef]) {
        let layer = |blob: &BlobRef| {
            Arc::new(LayerProgress {
                digest: blob.digest.clone(),
                size: blob.size,
                downloaded: AtomicU64::new(0),
                applied: AtomicU64::new(0),
                done: AtomicBool::new(false),
            })
        };
        let layers: Vec<_> = blobs.iter().map(layer).collect();
        let mut unfinished = HashMap::<_, VecDeque<_>>::new();
        for layer in &layers {
            let unfinished = unfinished.entry(layer.digest.clone()).or_default();
            unfinished.push_back(Arc::clone(layer));
        }
        // The sizes in a manifest can add up to more than a u64 holds.
        let size = blobs.iter().map(|blob| blob.size).fold(0, u64::saturating_add);
        let shared = &self.progress.0;
        {
            let mut state = self.progress.lock();
            *state = LayerList { layers, unfinished };
            shared.size.store(size, Ordering::Relaxed);
            shared.downloaded.store(0, Ordering::Relaxed);
            shared.applied.store(0, Ordering::Relaxed);
        }
        self.report();
    }

    /// Returns a reporter for the lowest layer with this blob that is not done; `None` if all are
    /// done, or the blob is not of a layer.
    pub(crate) fn next_layer(&self, digest: &Digest) -> Option<LayerReporter> {
        let mut state = self.progress.lock();
        let unfinished = state.unfinished.get_mut(digest)?;
        while unfinished.pop_front_if(|layer| layer.is_done()).is_some() {}
        let layer = Arc::clone(unfinished.front()?);
        Some(LayerReporter {
            layer,
            reporter: self.clone(),
        })
    }

    /// Marks all blobs as being on this machine, and reports the change.
    pub(crate) fn all_downloaded(&self) {
        for layer in self.progress.layers() {
            self.count_downloaded(&layer, layer.size);
        }
        self.report();
    }

    /// Sets the downloaded bytes of a layer, and updates the total.
    pub(super) fn count_downloaded(&self, layer: &LayerProgress, len: u64) {
        let after = len.min(layer.size);
        let before = layer.downloaded.swap(after, Ordering::Relaxed);
        add_difference(&self.progress.0.downloaded, before, after);
    }

    /// Sets the applied bytes of a layer, and updates the total.
    fn count_applied(&self, layer: &LayerProgress, len: u64) {
        let after = len.min(layer.size);
        let before = layer.applied.swap(after, Ordering::Relaxed);
        add_difference(&self.progress.0.applied, before, after);
    }

    /// Emits the progress to the listener.
    pub(super) fn report(&self) {
        self.events.emit(|| Event::Progress(self.progress.clone()));
    }
}

#[cfg(test)]
impl Reporter {
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }
}

/// Adds the difference between two values of a layer to the total.
fn add_difference(total: &AtomicU64, before: u64, after: u64) {
    // Both operations wrap around, so a decrease is subtracted.
    total.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
}

/// Updates the progress of one layer, and emits an event on each change.
#[derive(Debug, Clone)]
pub(crate) struct LayerReporter {
    pub(super) layer: Arc<LayerProgress>,
    pub(super) reporter: Reporter,
}

impl LayerReporter {
    /// Sets the bytes that were read to 0, as the blob is read from its start, perhaps again. Emits
    /// no event.
    pub(crate) fn restart(&self) {
        self.reporter.count_applied(&self.layer, 0);
    }

    /// Adds to the bytes of the blob that were read, and reports the change.
    pub(crate) fn add_applied(&self, len: usize) {
        let len = self.layer.applied().saturating_add(len as u64);
        self.reporter.count_applied(&self.layer, len);
        self.reporter.report();
    }

    /// Marks the layer as being in the disk image, and reports the change.
    pub(crate) fn mark_done(&self) {
        self.reporter.count_downloaded(&self.layer, self.layer.size);
        self.layer.done.store(true, Ordering::Relaxed);
        self.reporter.report();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_with_the_same_blob_are_done_in_order() {
        let (one, two) = (BlobRef::named(b"1", 1), BlobRef::named(b"2", 1));
        let reporter = Reporter::default();
        assert!(reporter.next_layer(&one.digest).is_none());
        reporter.set_layers(&[one.clone(), two.clone(), one.clone()]);
        for done in 0..2 {
            let layer = reporter.next_layer(&one.digest).unwrap();
            assert!(Arc::ptr_eq(&layer.layer, &reporter.progress.layers()[2 * done]));
            layer.mark_done();
        }
        assert!(reporter.next_layer(&one.digest).is_none());
        assert!(reporter.next_layer(&two.digest).is_some());
    }

    #[test]
    fn layers_are_found_in_constant_time() {
        // A linear search for each layer would take minutes.
        let blobs: Vec<_> = (0..200_000_u32)
            .map(|number| BlobRef::named(&number.to_le_bytes(), 1))
            .collect();
        let reporter = Reporter::default();
        reporter.set_layers(&blobs);
        for blob in &blobs {
            reporter.next_layer(&blob.digest).unwrap().mark_done();
        }
        assert!(blobs.iter().all(|blob| reporter.next_layer(&blob.digest).is_none()));
    }
}
