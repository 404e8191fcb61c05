//! Waits of those who speak to registries.

use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Awaited, LayerProgress, Progress, Wait};

/// Number of the next wait.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A wait that ends when this is dropped.
pub(crate) struct Waiting<'progress> {
    progress: &'progress Progress,
    number: u64,
}

impl Progress {
    /// Begins to wait for a host.
    pub(crate) fn wait(&self, host: String, awaited: Awaited) -> Waiting<'_> {
        let mut waits = self.lock_waits();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        waits.insert(number, Wait { number, host, awaited });
        Waiting { progress: self, number }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.progress.lock_waits().remove(&self.number);
    }
}

impl LayerProgress {
    pub(crate) fn set_awaited_lock(&self, path: Option<&Path>) {
        *self.awaited_lock.lock().unwrap_or_else(PoisonError::into_inner) = path.map(Path::to_owned);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_wait_lasts_as_long_as_somebody_waits() {
        let progress = Progress::default();
        let since = Instant::now();
        let first = progress.wait("one".to_owned(), Awaited::Answer { since });
        let second = progress.wait("two".to_owned(), Awaited::Answer { since });
        // The layers are known in the middle of it.
        progress.begin(&[]);
        let hosts = || {
            progress
                .waits()
                .iter()
                .map(|wait| wait.host().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(hosts(), ["one", "two"]);
        drop(first);
        assert_eq!(hosts(), ["two"]);
        drop(second);
        assert!(progress.waits().is_empty());
    }
}
