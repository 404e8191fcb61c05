//! Reports of downloads: bytes that arrive, and waits for servers and other processes.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Event, LayerReporter, Reporter, Wait, WaitReason};

/// Number of the next wait.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Reporter {
    /// Starts a wait, which ends when the guard is dropped.
    pub(crate) fn wait(&self, reason: WaitReason) -> WaitGuard {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let wait = Wait { number, reason };
        self.progress.lock_waits().insert(number, wait.clone());
        self.events.emit(|| Event::Waiting(wait));
        let reporter = self.clone();
        WaitGuard { reporter, number }
    }
}

impl LayerReporter {
    /// Sets the bytes of the blob that are on this machine, and reports the change.
    pub(crate) fn set_downloaded(&self, len: u64) {
        self.reporter.count_downloaded(&self.layer, len);
        self.reporter.report();
    }
}

/// Ends a wait when it is dropped.
#[derive(Debug)]
pub(crate) struct WaitGuard {
    reporter: Reporter,
    number: u64,
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        self.reporter.progress.lock_waits().remove(&self.number);
        self.reporter.report();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use super::*;
    use crate::BlobRef;
    use layer::events::Events;

    #[test]
    fn wait_ends_when_its_guard_is_dropped() {
        let reporter = Reporter::default();
        let wait = |host: &str| {
            let (host, since) = (host.to_owned(), Instant::now());
            reporter.wait(WaitReason::Answer { host, since })
        };
        let (first, second) = (wait("one"), wait("two"));
        // The layers become known during the waits.
        reporter.set_layers(&[]);
        let numbers = || reporter.progress.waits().iter().map(Wait::number).collect::<Vec<_>>();
        assert_eq!(numbers(), [first.number, second.number]);
        drop(first);
        assert_eq!(numbers(), [second.number]);
        drop(second);
        assert!(numbers().is_empty());
    }

    #[test]
    fn totals_match_the_layers_when_a_blob_is_read_again() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let events = Events::new({
            let seen = Arc::clone(&seen);
            move |event| match event {
                Event::Progress(progress) => {
                    let totals = (progress.size(), progress.downloaded(), progress.applied());
                    seen.lock().unwrap().push(totals);
                }
                Event::Waiting(_) => panic!("no wait expected"),
            }
        });
        let reporter = Reporter::new(&events);
        let (one, two) = (BlobRef::named(b"1", 10), BlobRef::named(b"2", 100));
        reporter.set_layers(&[one.clone(), two.clone()]);
        let [one, two] = [one, two].map(|blob| reporter.next_layer(&blob.digest).unwrap());
        one.set_downloaded(4);
        two.set_downloaded(101);
        two.add_applied(60);
        two.restart();
        two.add_applied(30);
        one.mark_done();
        let expected = [
            (110, 0, 0),
            (110, 4, 0),
            (110, 104, 0),
            (110, 104, 60),
            (110, 104, 30),
            (110, 110, 30),
        ];
        assert_eq!(*seen.lock().unwrap(), expected);
        // A build starts again.
        reporter.set_layers(&[BlobRef::named(b"3", u64::MAX), BlobRef::named(b"4", 1)]);
        assert_eq!(seen.lock().unwrap().last(), Some(&(u64::MAX, 0, 0)));
    }
}
