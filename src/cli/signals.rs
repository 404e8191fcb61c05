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

    let mut kinds = vec![(130, SignalKind::interrupt()), (143, SignalKind::terminate())];
    if !hangup_is_ignored() {
        kinds.push((129, SignalKind::hangup()));
    }
    let listen = |(exit_status, kind)| Ok((exit_status, signal(kind)?));
    kinds.into_iter().map(listen).collect()
}

/// Whether the process was started by `nohup` or the like, so that it shall survive its terminal.
///
/// SIGINT has no such exception: shells ignore it for every command in the background of a script, and who sends it to one of
/// them means it.
#[cfg(target_os = "linux")]
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (tokio::signal::unix::SignalKind::hangup().as_raw_value() - 1)) != 0)
}

/// Other systems don't say, so the signal keeps the effect that it has.
#[cfg(all(unix, not(target_os = "linux")))]
fn hangup_is_ignored() -> bool {
    true
}

#[cfg(windows)]
fn subscribe() -> io::Result<Vec<(u8, tokio::signal::windows::CtrlC)>> {
    Ok(vec![(130, tokio::signal::windows::ctrl_c()?)])
}
