//! A blob on its way from a registry into the store, read while it grows.

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tracing::{debug, info, trace};

use super::client::Timeouts;
use super::http::Http;
use super::retry::Retries;
use crate::blobs::{BlobStore, LockActivity, PartialBlob, StoreError, WriteTicket};
use crate::digest::{Digest, DigestError};
use crate::progress::{LayerReporter, Reporter, WaitReason, Waiting};
use crate::{BlobRef, ImageError};
use layer::cancel::{Cancel, Cancelled};

/// How often it is looked whether somebody else has downloaded a blob.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// Number of looks, within [`Timeouts::held`], at the progress of the process with the lock.
const CHECKS: u32 = 20;

/// An attempt that brought this part of a blob does not count, so that what comes in pieces comes, but not for ever.
const PROGRESS_SHARE: u64 = 64;

/// What is known of a download, by who downloads and by who reads.
#[derive(Debug)]
pub(crate) struct Download {
    blob: BlobRef,
    phase: Mutex<Phase>,
    changed: Condvar,
    /// Whether nobody wants it any more.
    is_cancelled: AtomicBool,
    progress: Option<LayerReporter>,
}

#[derive(Debug)]
enum Phase {
    /// For its turn, for an answer, or for another process that downloads the same.
    Waiting,
    /// So many bytes are there.
    Downloading(u64),
    /// The store has it; whether it is from here, and was hashed on its way.
    Done { hashed_here: bool },
    /// Until somebody asked why.
    Failed(Option<ImageError>),
}

/// What reading a download begins with.
pub(crate) enum Opened {
    /// What there is, which grows, unless it is all.
    Growing(TailReader),
    /// The store has it, and nobody here has hashed it.
    Stored,
}

impl Download {
    /// A download that waits for its turn, and the duty to see to it.
    pub(super) fn with_task(blob: BlobRef, progress: Option<LayerReporter>) -> (Arc<Self>, DownloadTask) {
        let download = Arc::new(Self {
            blob,
            phase: Mutex::new(Phase::Waiting),
            changed: Condvar::new(),
            is_cancelled: AtomicBool::new(false),
            progress,
        });
        (Arc::clone(&download), DownloadTask(download))
    }

    /// Whether the store has it.
    pub(crate) fn is_done(&self) -> bool {
        matches!(*self.lock(), Phase::Done { .. })
    }

    /// Makes whoever waits for it give up.
    pub(crate) fn cancel(&self) {
        let _phase = self.lock();
        self.is_cancelled.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Waits until there is something to read.
    pub(crate) fn open(self: &Arc<Self>, store: &BlobStore) -> Result<Opened, ImageError> {
        let mut phase = self.wait_while(|phase| matches!(phase, Phase::Waiting | Phase::Downloading(0)));
        if self.is_cancelled.load(Ordering::Relaxed) {
            return Err(Cancelled.into());
        }
        let BlobRef { digest, size } = &self.blob;
        let file = match &mut *phase {
            // It keeps this name as long as the phase is locked.
            Phase::Waiting | Phase::Downloading(_) => Some(store.open_partial(digest)?),
            // Another process may have evicted it, and even have downloaded it again.
            Phase::Done { hashed_here: true } => store.find_sized(digest, *size)?,
            Phase::Done { hashed_here: false } => None,
            Phase::Failed(error) => return Err(error.take().unwrap_or_else(|| Cancelled.into())),
        };
        Ok(file.map_or(Opened::Stored, |file| {
            Opened::Growing(TailReader {
                file,
                position: 0,
                download: Arc::clone(self),
            })
        }))
    }

    /// Waits for the end.
    pub(crate) fn wait_finished(&self) -> Result<(), ImageError> {
        let mut phase = self.wait_while(|phase| matches!(phase, Phase::Waiting | Phase::Downloading(_)));
        match &mut *phase {
            Phase::Failed(error) => Err(error.take().unwrap_or_else(|| Cancelled.into())),
            _ => Ok(()),
        }
    }

    /// Waits for bytes beyond a position, and says how many there are; none if there is no limit any more.
    fn wait_beyond(&self, position: u64) -> io::Result<Option<u64>> {
        let phase = self.wait_while(|phase| match phase {
            Phase::Waiting => true,
            Phase::Downloading(len) => *len <= position,
            Phase::Done { .. } | Phase::Failed(_) => false,
        });
        match &*phase {
            Phase::Downloading(len) if *len > position => Ok(Some(len - position)),
            Phase::Done { .. } => Ok(None),
            Phase::Failed(_) => Err(io::Error::other("the download failed")),
            Phase::Waiting | Phase::Downloading(_) => Err(io::Error::other("the download was abandoned")),
        }
    }

    fn wait_while(&self, waiting: impl Fn(&Phase) -> bool) -> MutexGuard<'_, Phase> {
        self.changed
            .wait_while(self.lock(), |phase| {
                waiting(phase) && !self.is_cancelled.load(Ordering::Relaxed)
            })
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, phase: Phase) {
        if let (Some(progress), Phase::Downloading(len)) = (&self.progress, &phase) {
            progress.downloaded(*len);
        }
        *self.lock() = phase;
        self.changed.notify_all();
    }
}

/// A blob that is read while it is downloaded.
#[derive(Debug)]
pub(crate) struct TailReader {
    file: File,
    position: u64,
    download: Arc<Download>,
}

impl Read for TailReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.download.wait_beyond(self.position)?.unwrap_or(u64::MAX);
        let len = usize::try_from(available).map_or(buffer.len(), |available| available.min(buffer.len()));
        let count = self.file.read(&mut buffer[..len])?;
        self.position += count as u64;
        Ok(count)
    }
}

/// The duty to bring a download to an end. Dropped before, it fails: nobody waits for what nobody does.
pub(super) struct DownloadTask(Arc<Download>);

impl DownloadTask {
    /// Downloads the blob, unless somebody else does it first.
    pub(super) async fn run(self, http: &Http, store: &BlobStore, cancel: &Cancel) {
        let result = tokio::select! {
            result = self.download(http, store, cancel) => result.map_err(Cancelled::surface),
            cancelled = cancel.cancelled() => Err(cancelled.into()),
        };
        if let Err(error) = result {
            self.0.set(Phase::Failed(Some(error)));
        }
    }

    async fn download(&self, http: &Http, store: &BlobStore, cancel: &Cancel) -> Result<(), ImageError> {
        let BlobRef { digest, size } = &self.0.blob;
        let mut wait = None;
        let begin = loop {
            // It hashes what there is, and blocks the worker alone that it runs on.
            match store.start_write(digest, *size, cancel)? {
                WriteTicket::Locked => {
                    if wait.is_none() {
                        info!(%digest, lock = %store.lock_path(digest).display(), "waits for another process");
                    }
                    let wait = wait.get_or_insert_with(LockWait::start);
                    wait.check(store, digest, http.timeouts(), http.reporter())?;
                    sleep(LOCK_POLL).await;
                }
                begin => break begin,
            }
        };
        drop(wait);
        let WriteTicket::Granted(mut partial) = begin else {
            info!(%digest, "another process has downloaded it");
            self.0.set(Phase::Done { hashed_here: false });
            return Ok(());
        };
        self.0.set(Phase::Downloading(partial.len()));
        if let Err(error) = self.download_missing(http, &mut partial).await {
            if partial.len() == 0 || matches!(error, ImageError::Content { .. }) {
                partial.discard();
            }
            return Err(error);
        }
        let mut phase = self.0.lock();
        partial.commit()?;
        debug!(%digest, size, "downloaded");
        *phase = Phase::Done { hashed_here: true };
        drop(phase);
        self.0.changed.notify_all();
        Ok(())
    }

    /// Asks for what is missing, again as long as that helps.
    async fn download_missing(&self, http: &Http, partial: &mut PartialBlob) -> Result<(), ImageError> {
        let size = self.0.blob.size;
        let mut retries = Retries::new(http.backoff());
        while partial.len() < size {
            let before = partial.len();
            match self.download_rest(http, partial).await {
                Err(ImageError::Registry(error)) => {
                    if partial.len() - before > size / PROGRESS_SHARE {
                        retries = Retries::new(http.backoff());
                    }
                    if !retries.pause(&error, http.reporter()).await {
                        return Err(error.into());
                    }
                }
                done => return done,
            }
        }
        Ok(())
    }

    /// Asks for what is missing, and takes it as it comes.
    async fn download_rest(&self, http: &Http, partial: &mut PartialBlob) -> Result<(), ImageError> {
        let BlobRef { digest, size } = &self.0.blob;
        if partial.len() > 0 {
            info!(%digest, from = partial.len(), size, "resumes the download");
        }
        let answer = http.fetch_blob(digest, partial.len(), *size).await?;
        if let Some(actual) = answer.wrong_size() {
            let expected = *size;
            let error = ImageError::content(digest, DigestError::SizeMismatch { expected, actual });
            return Err(answer.or_web_page(error).await);
        }
        partial.resume();
        // A server that does not know ranges sends again what is here.
        let mut known = partial.len() - answer.start();
        let server = answer.server().clone();
        let take = |bytes: &[u8]| {
            let skipped = usize::try_from(known).map_or(bytes.len(), |known| known.min(bytes.len()));
            known -= skipped as u64;
            if skipped < bytes.len() {
                partial.write(&bytes[skipped..])?;
                trace!(%digest, bytes = bytes.len(), len = partial.len(), "received");
                self.0.set(Phase::Downloading(partial.len()));
            }
            Ok(())
        };
        http.stream(answer, take).await?;
        if partial.len() < *size {
            return Err(server.incomplete(partial.len(), *size).into());
        }
        Ok(())
    }
}

/// The wait for somebody else who writes a blob, or one that shares its lock.
struct LockWait {
    started: Instant,
    /// Blobs as they were when somebody was last seen to get on, and when that was.
    activity: Option<LockActivity>,
    last_progress: Instant,
    last_check: Instant,
    /// Set once the user knows of the wait.
    shown: Option<Waiting>,
}

impl LockWait {
    fn start() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            activity: None,
            last_progress: now,
            last_check: now,
            shown: None,
        }
    }

    /// Tells the user once the wait is long, and gives up once nobody gets on.
    fn check(
        &mut self,
        store: &BlobStore,
        digest: &Digest,
        timeouts: &Timeouts,
        reporter: &Reporter,
    ) -> Result<(), StoreError> {
        if self.shown.is_none() && self.started.elapsed() >= timeouts.notice {
            self.shown = Some(reporter.wait(WaitReason::Lock {
                digest: digest.clone(),
                path: store.lock_path(digest),
            }));
        }
        if self.activity.is_some() && self.last_check.elapsed() < timeouts.lock_idle / CHECKS {
            return Ok(());
        }
        self.last_check = Instant::now();
        let activity = Some(store.lock_activity(digest)?);
        if self.activity != activity {
            self.activity = activity;
            self.last_progress = self.last_check;
        }
        let waited = self.last_progress.elapsed();
        if waited < timeouts.lock_idle {
            return Ok(());
        }
        Err(StoreError::Held {
            path: store.lock_path(digest),
            waited,
        })
    }
}

impl Drop for DownloadTask {
    fn drop(&mut self) {
        let mut phase = self.0.lock();
        if matches!(*phase, Phase::Waiting | Phase::Downloading(_)) {
            *phase = Phase::Failed(None);
        }
        drop(phase);
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::thread;

    use super::super::client::Timeouts;
    use super::super::runtime::Runtime;
    use super::super::{RegistryError, RegistryOptions};
    use super::*;
    use crate::Reference;
    use crate::digest::{Algorithm, Digest};

    const BLOB: &[u8] = b"0123456789";

    /// How a download ends of which a byte comes every 30 ms, where each 64 KiB may take so long.
    fn download_slowly(slow: Duration) -> Result<(), ImageError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BLOB.len());
                for part in std::iter::once(head.as_bytes()).chain(BLOB.chunks(1)) {
                    // Who no longer listens has given up, as it should.
                    let _ = stream.write_all(part);
                    thread::sleep(Duration::from_millis(30));
                }
            }
        });
        let timeouts = Timeouts {
            per_64_kib: slow,
            backoff: Duration::from_millis(1),
            ..Timeouts::default()
        };
        let (_state, store) = store();
        download(&address, &store, timeouts)
    }

    /// Returns the outcome of a download of the blob.
    fn download(address: &str, store: &BlobStore, timeouts: Timeouts) -> Result<(), ImageError> {
        let Reference::Registry(image) = Reference::parse(&format!("{address}/x")).unwrap() else {
            panic!("no registry")
        };
        let options = RegistryOptions::default();
        let found = options.auth_files.find(&image).unwrap();
        let http = Http::new(
            &image.registry,
            &image.repository,
            found,
            &options,
            timeouts,
            Reporter::default(),
        )
        .unwrap();
        let blob = BlobRef {
            digest: Digest::of(Algorithm::Sha256, BLOB),
            size: BLOB.len() as u64,
        };
        let (download, task) = Download::with_task(blob, None);
        let cancel = Cancel::new();
        let runtime = Runtime::new(0).unwrap();
        let perform = async || task.run(&http, store, &cancel).await;
        runtime.block_on(perform).unwrap();
        download.wait_finished()
    }

    fn store() -> (tempfile::TempDir, BlobStore) {
        let state = tempfile::tempdir().unwrap();
        let store = BlobStore::open(state.path()).unwrap();
        (state, store)
    }

    #[test]
    fn a_lock_is_waited_for_as_long_as_something_of_its_blobs_grows() {
        let (_state, store) = store();
        let digest = Digest::of(Algorithm::Sha256, BLOB);
        let begin = || store.start_write(&digest, BLOB.len() as u64, &Cancel::new()).unwrap();
        let WriteTicket::Granted(mut partial) = begin() else {
            panic!("it is nobody's")
        };
        assert!(matches!(begin(), WriteTicket::Locked));
        let timeouts = Timeouts::default();
        let mut wait = LockWait::start();
        let mut after_ten_minutes = || {
            let then = wait.last_check.checked_sub(timeouts.lock_idle)?;
            (wait.started, wait.last_progress, wait.last_check) = (then, then, then);
            Some(wait.check(&store, &digest, &timeouts, &Reporter::default()))
        };
        for byte in BLOB.chunks(1) {
            partial.write(byte).unwrap();
            // A machine that was just started has no such time behind it.
            let Some(result) = after_ten_minutes() else { return };
            result.unwrap();
        }
        let error = after_ten_minutes().unwrap().unwrap_err();
        assert!(
            matches!(&error, StoreError::Held { path, .. } if *path == store.lock_path(&digest)),
            "{error}"
        );
    }

    #[test]
    fn a_lock_of_which_nothing_comes_ends_the_download() {
        let (_state, store) = store();
        let digest = Digest::of(Algorithm::Sha256, BLOB);
        let holder = store.start_write(&digest, BLOB.len() as u64, &Cancel::new()).unwrap();
        let timeouts = Timeouts {
            lock_idle: Duration::from_millis(200),
            ..Timeouts::default()
        };
        let error = download("localhost:1", &store, timeouts).unwrap_err();
        assert!(
            matches!(&error, ImageError::Store(StoreError::Held { path, .. }) if *path == store.lock_path(&digest)),
            "{error:?}"
        );
        drop(holder);
    }

    #[test]
    fn a_blob_that_drips_is_given_up() {
        let error = download_slowly(Duration::from_millis(100)).unwrap_err();
        assert!(
            matches!(error, ImageError::Registry(RegistryError::TimedOut { .. })),
            "{error:?}"
        );
        download_slowly(Duration::from_mins(1)).unwrap();
    }
}
