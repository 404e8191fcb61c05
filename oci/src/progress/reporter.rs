//! The side that keeps the counts, and reports each change.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[cfg(feature = "registry")]
use super::{Awaited, Wait};
use super::{Event, LayerProgress, Progress, State};
use crate::{BlobRef, Digest};
use layer::events::Events;

/// Number of the next wait.
#[cfg(feature = "registry")]
static NEXT_WAIT: AtomicU64 = AtomicU64::new(1);

/// Keeps the progress of an image, and reports each change. Clones share both.
///
/// The listener may do what it likes, so no method may be called with a lock held.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reporter {
    progress: Progress,
    events: Events<Event>,
}

impl Reporter {
    /// Creates a reporter without layers.
    pub(crate) fn new(events: &Events<Event>) -> Self {
        Self {
            progress: Progress::default(),
            events: events.clone(),
        }
    }

    /// Takes the layers of an image, in place of those of an earlier attempt.
    pub(crate) fn begin(&self, blobs: &[BlobRef]) {
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
        let mut open = HashMap::<_, VecDeque<_>>::new();
        for layer in &layers {
            let open = open.entry(layer.digest.clone()).or_default();
            open.push_back(Arc::clone(layer));
        }
        // A manifest can say anything of sizes.
        let size = blobs.iter().map(|blob| blob.size).fold(0, u64::saturating_add);
        let shared = &self.progress.0;
        {
            let mut state = self.progress.lock();
            *state = State { layers, open };
            shared.size.store(size, Ordering::Relaxed);
            shared.downloaded.store(0, Ordering::Relaxed);
            shared.applied.store(0, Ordering::Relaxed);
        }
        self.report();
    }

    /// Returns the next layer with this blob that is not done; `None`, and nothing to report, if
    /// there is none.
    pub(crate) fn layer(&self, digest: &Digest) -> Option<LayerReporter> {
        let mut state = self.progress.lock();
        let open = state.open.get_mut(digest)?;
        while open.pop_front_if(|layer| layer.is_done()).is_some() {}
        let layer = Arc::clone(open.front()?);
        Some(LayerReporter {
            layer,
            reporter: self.clone(),
        })
    }

    /// Reports that all blobs are on this machine.
    pub(crate) fn downloaded(&self) {
        for layer in self.progress.layers() {
            self.count_downloaded(&layer, layer.size);
        }
        self.report();
    }

    /// Begins a wait, which ends when the result is dropped.
    #[cfg(feature = "registry")]
    pub(crate) fn wait(&self, awaited: Awaited) -> Waiting {
        let number = NEXT_WAIT.fetch_add(1, Ordering::Relaxed);
        let wait = Wait { number, awaited };
        self.progress.lock_waits().insert(number, wait.clone());
        self.events.emit(|| Event::Waiting(wait));
        let reporter = self.clone();
        Waiting { reporter, number }
    }

    fn count_downloaded(&self, layer: &LayerProgress, len: u64) {
        let after = len.min(layer.size);
        let before = layer.downloaded.swap(after, Ordering::Relaxed);
        add_difference(&self.progress.0.downloaded, before, after);
    }

    fn count_applied(&self, layer: &LayerProgress, len: u64) {
        let after = len.min(layer.size);
        let before = layer.applied.swap(after, Ordering::Relaxed);
        add_difference(&self.progress.0.applied, before, after);
    }

    fn report(&self) {
        self.events.emit(|| Event::Progress(self.progress.clone()));
    }
}

#[cfg(test)]
impl Reporter {
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }
}

fn add_difference(sum: &AtomicU64, before: u64, after: u64) {
    // Both operations wrap around, so that a smaller number is subtracted.
    sum.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
}

/// Reports the progress of a layer.
#[derive(Debug, Clone)]
pub(crate) struct LayerReporter {
    layer: Arc<LayerProgress>,
    reporter: Reporter,
}

impl LayerReporter {
    /// Reports how many bytes of the blob are on this machine.
    pub(crate) fn downloaded(&self, len: u64) {
        self.reporter.count_downloaded(&self.layer, len);
        self.reporter.report();
    }

    /// Reports that the blob is read from its beginning, perhaps again.
    pub(crate) fn restart(&self) {
        self.reporter.count_applied(&self.layer, 0);
    }

    /// Reports that more of the blob was read.
    pub(crate) fn applied(&self, len: usize) {
        let len = self.layer.applied().saturating_add(len as u64);
        self.reporter.count_applied(&self.layer, len);
        self.reporter.report();
    }

    /// Reports that all of the layer is in the disk image.
    pub(crate) fn done(&self) {
        self.reporter.count_downloaded(&self.layer, self.layer.size);
        self.layer.done.store(true, Ordering::Relaxed);
        self.reporter.report();
    }
}

/// A wait that ends when this is dropped.
#[cfg(feature = "registry")]
#[derive(Debug)]
pub(crate) struct Waiting {
    reporter: Reporter,
    number: u64,
}

#[cfg(feature = "registry")]
impl Drop for Waiting {
    fn drop(&mut self) {
        self.reporter.progress.lock_waits().remove(&self.number);
        self.reporter.report();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::Algorithm;

    fn blob(content: &[u8], size: u64) -> BlobRef {
        let digest = Digest::of(Algorithm::Sha256, content);
        BlobRef { digest, size }
    }

    #[test]
    fn layers_with_the_same_blob_are_done_one_after_the_other() {
        let (one, two) = (blob(b"1", 1), blob(b"2", 1));
        let reporter = Reporter::default();
        assert!(reporter.layer(&one.digest).is_none());
        reporter.begin(&[one.clone(), two.clone(), one.clone()]);
        for done in 0..2 {
            let layer = reporter.layer(&one.digest).unwrap();
            assert!(Arc::ptr_eq(&layer.layer, &reporter.progress.layers()[2 * done]));
            layer.done();
        }
        assert!(reporter.layer(&one.digest).is_none());
        assert!(reporter.layer(&two.digest).is_some());
    }

    #[test]
    fn many_layers_are_found_in_linear_time() {
        // A search through all of them would take minutes.
        let blobs: Vec<_> = (0..200_000_u32).map(|number| blob(&number.to_le_bytes(), 1)).collect();
        let reporter = Reporter::default();
        reporter.begin(&blobs);
        for blob in &blobs {
            reporter.layer(&blob.digest).unwrap().done();
        }
        assert!(blobs.iter().all(|blob| reporter.layer(&blob.digest).is_none()));
    }

    #[test]
    fn sums_are_those_of_the_layers_even_when_a_blob_is_read_again() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let events = Events::new({
            let seen = Arc::clone(&seen);
            move |event| match event {
                Event::Progress(progress) => {
                    let sums = (progress.size(), progress.downloaded(), progress.applied());
                    seen.lock().unwrap().push(sums);
                }
                Event::Waiting(_) => panic!("nothing is waited for"),
            }
        });
        let reporter = Reporter::new(&events);
        let (one, two) = (blob(b"1", 10), blob(b"2", 100));
        reporter.begin(&[one.clone(), two.clone()]);
        let [one, two] = [one, two].map(|blob| reporter.layer(&blob.digest).unwrap());
        one.downloaded(4);
        two.downloaded(101);
        two.applied(60);
        two.restart();
        two.applied(30);
        one.done();
        let expected = [
            (110, 0, 0),
            (110, 4, 0),
            (110, 104, 0),
            (110, 104, 60),
            (110, 104, 30),
            (110, 110, 30),
        ];
        assert_eq!(*seen.lock().unwrap(), expected);
        // Of a build that begins again.
        reporter.begin(&[blob(b"3", u64::MAX), blob(b"4", 1)]);
        assert_eq!(seen.lock().unwrap().last(), Some(&(u64::MAX, 0, 0)));
    }

    #[cfg(feature = "registry")]
    #[test]
    fn a_wait_lasts_until_it_is_dropped() {
        use std::time::Instant;

        let reporter = Reporter::default();
        let wait = |host: &str| {
            let (host, since) = (host.to_owned(), Instant::now());
            reporter.wait(Awaited::Answer { host, since })
        };
        let (first, second) = (wait("one"), wait("two"));
        // The layers become known in the middle of it.
        reporter.begin(&[]);
        let numbers = || reporter.progress.waits().iter().map(Wait::number).collect::<Vec<_>>();
        assert_eq!(numbers(), [first.number, second.number]);
        drop(first);
        assert_eq!(numbers(), [second.number]);
        drop(second);
        assert!(numbers().is_empty());
    }
}
