//! Ctrl-C and its kin: the first asks the build to stop and leave nothing, the second ends the process at once.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tokio::runtime::{Builder, Runtime};

/// Listens for signals as long as it lives.
pub(super) struct Signals {
    interrupted: Arc<AtomicBool>,
    status: Arc<AtomicU8>,
    _runtime: Runtime,
}

impl Signals {
    /// Begins to listen: to SIGINT, SIGTERM and SIGHUP, or to Ctrl-C on Windows.
    pub(super) fn listen() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let status = Arc::new(AtomicU8::new(0));
        for (exit_status, mut signal) in runtime.block_on(async { subscribe() })? {
            let (interrupted, status) = (Arc::clone(&interrupted), Arc::clone(&status));
            runtime.spawn(async move {
                while signal.recv().await.is_some() {
                    let earlier = status.swap(exit_status, Ordering::SeqCst);
                    interrupted.store(true, Ordering::SeqCst);
                    if earlier != 0 {
                        process::exit(i32::from(exit_status));
                    }
                }
            });
        }
        Ok(Self {
            interrupted,
            status,
            _runtime: runtime,
        })
    }

    /// Set by the first signal.
    pub(super) fn interrupted(&self) -> &Arc<AtomicBool> {
        &self.interrupted
    }

    /// What the process exits with after a signal, as shells put it: 128 and the number of the signal.
    pub(super) fn exit_status(&self) -> Option<u8> {
        Some(self.status.load(Ordering::SeqCst)).filter(|&status| status != 0)
    }
}

#[cfg(unix)]
fn subscribe() -> io::Result<Vec<(u8, tokio::signal::unix::Signal)>> {
    use tokio::signal::unix::{SignalKind, signal};

    // Without a handler, a write beyond `ulimit -f` ends the process; with one it fails, and says why.
    drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);

    [
        (130, SignalKind::interrupt()),
        (143, SignalKind::terminate()),
        (129, SignalKind::hangup()),
    ]
    .into_iter()
    .filter(|&(_, kind)| !is_ignored(kind))
    .map(|(exit_status, kind)| Ok((exit_status, signal(kind)?)))
    .collect()
}

/// Whether the process was started with the signal ignored, as `nohup` does; then it stays ignored.
#[cfg(target_os = "linux")]
fn is_ignored(kind: tokio::signal::unix::SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (kind.as_raw_value() - 1)) != 0)
}

/// Other systems don't say, so the one signal that is commonly ignored keeps what it had.
#[cfg(all(unix, not(target_os = "linux")))]
fn is_ignored(kind: tokio::signal::unix::SignalKind) -> bool {
    kind == tokio::signal::unix::SignalKind::hangup()
}

#[cfg(windows)]
fn subscribe() -> io::Result<Vec<(u8, tokio::signal::windows::CtrlC)>> {
    Ok(vec![(130, tokio::signal::windows::ctrl_c()?)])
}
