//! A build as a future, for any asynchronous runtime.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

use super::{BuildOptions, BuildReport, build};
use crate::error::{BuildError, OutputAction};
use layer::cancel::Cancel;

/// Builds a disk image as [`build`] does, on a new thread. Works with any runtime.
///
/// The build starts when the future is first polled. Dropping the future cancels the build, which
/// then ends within moments and leaves no files.
///
/// ```
/// use microagent::rootfs::{BuildOptions, build_async};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("disk.ext4");
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// let mut options = BuildOptions::new("oci:examples/hello:latest".parse()?);
/// options.allow_mutable = true;
/// options.platform = "linux/amd64".parse()?;
/// # runtime.block_on(async {
/// let report = build_async(options, path).await?;
/// assert_eq!(report.layers.len(), 4);
/// # Ok::<(), microagent::error::BuildError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// As for [`build`], and [`BuildError::Output`] if the thread could not be started.
///
/// # Panics
///
/// If the listener to events panics.
pub async fn build_async(options: BuildOptions, output: impl Into<PathBuf>) -> Result<BuildReport, BuildError> {
    let output = output.into();
    let cancel = CancelOnDrop(Cancel::new());
    let shared = Arc::new(Mutex::new(Shared::default()));
    let spawned = thread::Builder::new().name("build".to_owned()).spawn({
        let (output, cancel, shared) = (output.clone(), cancel.0.clone(), Arc::clone(&shared));
        move || {
            let result = catch_unwind(AssertUnwindSafe(|| build(&options, &output, &cancel)));
            let mut shared = lock(&shared);
            shared.result = Some(result);
            if let Some(waker) = shared.waker.take() {
                drop(shared);
                waker.wake();
            }
        }
    });
    spawned.map_err(|source| BuildError::Output {
        action: OutputAction::Create,
        path: output,
        source,
    })?;
    let result = poll_fn(|context| {
        let mut shared = lock(&shared);
        if let Some(result) = shared.result.take() {
            return Poll::Ready(result);
        }
        shared.waker = Some(context.waker().clone());
        Poll::Pending
    });
    result.await.unwrap_or_else(|panic| resume_unwind(panic))
}

/// State that the thread and the future share.
#[derive(Default)]
struct Shared {
    result: Option<thread::Result<Result<BuildReport, BuildError>>>,
    waker: Option<Waker>,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cancels a build when the future is dropped.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
