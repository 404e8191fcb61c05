//! Downloads of blobs into the store, which are read while they grow.
//!
//! A [`DownloadTask`] runs on a worker thread and appends to the blob's `.partial` file. Readers
//! share the [`Download`] with it. A [`TailReader`] reads the same file, and waits when it reaches
//! the end of what was downloaded. Readers never slow a download down, so a slow disk image stalls
//! no download, and memory stays constant.
//!
//! The task hashes the bytes that it writes. The store only ever names a blob whose digest is
//! right, so a reader of a growing blob does not hash it again: it asks the download for the
//! verdict ([`Download::wait_finished`]). A blob that another process downloaded was not hashed
//! here, so its reader verifies it.
//!
//! After a failure, the next attempt requests the missing bytes only. Attempts that bring enough
//! bytes do not count as failures.

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
use crate::progress::{LayerReporter, Reporter, WaitGuard, WaitReason};
use crate::{BlobRef, ImageError};
use layer::cancel::{Cancel, Cancelled};

/// Interval at which a locked blob is checked again.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// Number of checks, within [`Timeouts::lock_idle`], of the progress of the process with the lock.
const CHECKS: u32 = 20;

/// An attempt that brought more than one part in `PROGRESS_SHARE` of a blob resets the count of
/// attempts. So a blob can arrive in pieces, but not in endlessly small ones.
const PROGRESS_SHARE: u64 = 64;

/// State of a download, shared by its task and its readers.
#[derive(Debug)]
pub(crate) struct Download {
    blob: BlobRef,
    phase: Mutex<Phase>,
    changed: Condvar,
    /// Set once the blob is no longer wanted.
    cancelled: AtomicBool,
    progress: Option<LayerReporter>,
}

/// Progress of a download.
#[derive(Debug)]
enum Phase {
    /// Waits for a worker, for the response, or for another process that downloads the same blob.
    Waiting,
    /// The file has the given number of bytes.
    Downloading(u64),
    /// The store has the blob. `hashed_here` is set if this process downloaded and hashed it.
    Done { hashed_here: bool },
    /// The download failed. The first reader takes the error.
    Failed(Option<ImageError>),
}

/// A download opened for reading.
pub(crate) enum Opened {
    /// A reader of the file, which may still grow. The download verifies the digest.
    Growing(TailReader),
    /// The store has the blob, and this process has not verified its digest.
    Stored,
}

impl Download {
    /// Returns a download that waits for a worker, and the task that performs it.
    pub(super) fn with_task(blob: BlobRef, progress: Option<LayerReporter>) -> (Arc<Self>, DownloadTask) {
        let download = Arc::new(Self {
            blob,
            phase: Mutex::new(Phase::Waiting),
            changed: Condvar::new(),
            cancelled: AtomicBool::new(false),
            progress,
        });
        (Arc::clone(&download), DownloadTask(download))
    }

    /// Returns whether the store has the blob.
    pub(crate) fn is_done(&self) -> bool {
        matches!(*self.lock(), Phase::Done { .. })
    }

    /// Ends all waits; those for bytes fail.
    pub(crate) fn cancel(&self) {
        let _phase = self.lock();
        self.cancelled.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Waits for the first bytes, and opens the blob for reading.
    pub(crate) fn open(self: &Arc<Self>, store: &BlobStore) -> Result<Opened, ImageError> {
        let mut phase = self.wait_while(|phase| matches!(phase, Phase::Waiting | Phase::Downloading(0)));
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Cancelled.into());
        }
        let BlobRef { digest, size } = &self.blob;
        let file = match &mut *phase {
            // The file keeps its name while the phase is locked.
            Phase::Waiting | Phase::Downloading(_) => Some(store.open_partial(digest)?),
            // Another process may have evicted the blob, and even have downloaded it again.
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

    /// Waits until the download has succeeded or failed.
    pub(crate) fn wait_finished(&self) -> Result<(), ImageError> {
        let mut phase = self.wait_while(|phase| matches!(phase, Phase::Waiting | Phase::Downloading(_)));
        match &mut *phase {
            Phase::Failed(error) => Err(error.take().unwrap_or_else(|| Cancelled.into())),
            _ => Ok(()),
        }
    }

    /// Waits for bytes after a position. Returns their number, or `None` once the blob is complete,
    /// and can be read to its end.
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

    /// Waits while a condition holds, or until the download is cancelled.
    fn wait_while(&self, waiting: impl Fn(&Phase) -> bool) -> MutexGuard<'_, Phase> {
        self.changed
            .wait_while(self.lock(), |phase| {
                waiting(phase) && !self.cancelled.load(Ordering::Relaxed)
            })
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the phase, wakes the readers, and reports the progress.
    fn set(&self, phase: Phase) {
        if let (Some(progress), Phase::Downloading(len)) = (&self.progress, &phase) {
            progress.set_downloaded(*len);
        }
        *self.lock() = phase;
        self.changed.notify_all();
    }
}

/// Reader of a blob that is being downloaded.
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

/// Task that performs a download. Dropped before its end, it fails the download, so that no reader
/// waits for ever.
pub(super) struct DownloadTask(Arc<Download>);

impl DownloadTask {
    /// Downloads the blob, unless another process does so first.
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
            // This hashes the bytes of an earlier download, and blocks only its own worker thread.
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

    /// Downloads the missing bytes, and tries again after transient errors.
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

    /// Requests the missing bytes once, and writes them as they arrive.
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
        // A server without support for ranges sends the known bytes again, which are skipped.
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

/// Wait for another process that writes the blob, or one that shares its lock.
struct LockWait {
    started: Instant,
    /// State of the downloads under the lock at the last progress.
    activity: Option<LockActivity>,
    last_progress: Instant,
    last_check: Instant,
    /// Set once the wait was reported.
    shown: Option<WaitGuard>,
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

    /// Reports the wait once it is long. Fails with [`StoreError::Held`] once the holder of the
    /// lock has made no progress for [`Timeouts::lock_idle`].
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

    /// Returns the outcome of a download with a byte every 30 ms, where each 64 KiB may take the
    /// time `slow`.
    fn download_slowly(slow: Duration) -> Result<(), ImageError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BLOB.len());
                for part in std::iter::once(head.as_bytes()).chain(BLOB.chunks(1)) {
                    // A client that gave up, as it should, has closed the connection.
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
        let run = async || task.run(&http, store, &cancel).await;
        runtime.block_on(run).unwrap();
        download.wait_finished()
    }

    fn store() -> (tempfile::TempDir, BlobStore) {
        let state = tempfile::tempdir().unwrap();
        let store = BlobStore::open(state.path()).unwrap();
        (state, store)
    }

    #[test]
    fn wait_for_a_lock_goes_on_while_one_of_its_blobs_grows() {
        let (_state, store) = store();
        let digest = Digest::of(Algorithm::Sha256, BLOB);
        let begin = || store.start_write(&digest, BLOB.len() as u64, &Cancel::new()).unwrap();
        let WriteTicket::Granted(mut partial) = begin() else {
            panic!("the blob cannot be written")
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
            // The clock of a machine that just started cannot go back ten minutes.
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
    fn lock_without_progress_fails_the_download() {
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
    fn slow_blob_times_out() {
        let error = download_slowly(Duration::from_millis(100)).unwrap_err();
        assert!(
            matches!(error, ImageError::Registry(RegistryError::TimedOut { .. })),
            "{error:?}"
        );
        download_slowly(Duration::from_mins(1)).unwrap();
    }
}
