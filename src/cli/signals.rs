//! Signals, such as Ctrl-C. The first cancels the command, which cleans up. A later one ends the
//! process at once.

use std::io;
use std::process;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use layer::cancel::Cancel;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Time after the first signal during which others count as the same one. `timeout`, for example,
/// sends each signal twice.
const ECHO: Duration = Duration::from_secs(1);

/// Listener for signals. Dropping it stops listening.
pub(super) struct Signals {
    cancel: Cancel,
    first: Arc<OnceLock<FirstSignal>>,
    _stop: oneshot::Sender<()>,
}

/// The first signal that arrived.
struct FirstSignal {
    exit_status: u8,
    at: Instant,
}

impl Signals {
    /// Starts to listen: on Unix for SIGINT, SIGTERM and SIGHUP; on Windows for Ctrl-C, Ctrl-Break,
    /// the close of the console and the shutdown of the system.
    pub(super) fn listen() -> io::Result<Self> {
        #[cfg(unix)]
        require_descriptors()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let cancel = Cancel::new();
        let first = Arc::new(OnceLock::new());
        for (exit_status, mut signal) in runtime.block_on(async { subscribe() })? {
            let (cancel, first) = (cancel.clone(), Arc::clone(&first));
            runtime.spawn(async move {
                while signal.recv().await.is_some() {
                    let at = Instant::now();
                    let first = first.get_or_init(|| FirstSignal { exit_status, at });
                    cancel.cancel();
                    if at.duration_since(first.at) > ECHO {
                        process::exit(i32::from(first.exit_status));
                    }
                }
            });
        }
        // A runtime that starts its own thread panics if it cannot.
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("signals".to_owned());
        // `stopped` resolves with an error once the sender is dropped.
        thread.spawn(move || drop(runtime.block_on(stopped)))?;
        Ok(Self {
            cancel,
            first,
            _stop: stop,
        })
    }

    /// Returns the flag that the first signal sets.
    pub(super) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Returns the exit status after a signal, 128 plus its number, or `None` before the first.
    pub(super) fn exit_status(&self) -> Option<u8> {
        self.first.get().map(|first| first.exit_status)
    }
}

/// Checks that the process can open the files that tokio needs for signals. Without them, tokio
/// panics.
#[cfg(unix)]
fn require_descriptors() -> io::Result<()> {
    const PAIRS: usize = 4;
    let pairs = (0..PAIRS).map(|_| std::os::unix::net::UnixStream::pair());
    pairs.collect::<io::Result<Vec<_>>>().map(drop)
}

#[cfg(unix)]
fn subscribe() -> io::Result<Vec<(u8, tokio::signal::unix::Signal)>> {
    use tokio::signal::unix::{SignalKind, signal};

    // Without a handler, a write beyond `ulimit -f` ends the process. With one it returns an error.
    drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);

    let mut kinds = vec![(130, SignalKind::interrupt()), (143, SignalKind::terminate())];
    if !hangup_is_ignored() {
        kinds.push((129, SignalKind::hangup()));
    }
    let listen = |(exit_status, kind)| Ok((exit_status, signal(kind)?));
    kinds.into_iter().map(listen).collect()
}

/// Returns whether the process ignores SIGHUP, because `nohup` or a similar program started it.
/// Such a process must survive its terminal.
///
/// SIGINT has no such exception: shells ignore it for every background command of a script, and a
/// SIGINT sent to one of those is intended.
#[cfg(target_os = "linux")]
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (tokio::signal::unix::SignalKind::hangup().as_raw_value() - 1)) != 0)
}

/// Other systems do not expose this, so SIGHUP keeps its default action.
#[cfg(all(unix, not(target_os = "linux")))]
fn hangup_is_ignored() -> bool {
    true
}

/// Event that ends a console program on Windows.
#[cfg(windows)]
enum Event {
    CtrlC(tokio::signal::windows::CtrlC),
    CtrlBreak(tokio::signal::windows::CtrlBreak),
    /// The console window is closed. Windows ends the process itself some seconds later.
    CtrlClose(tokio::signal::windows::CtrlClose),
    /// The system shuts down.
    CtrlShutdown(tokio::signal::windows::CtrlShutdown),
}

#[cfg(windows)]
impl Event {
    async fn recv(&mut self) -> Option<()> {
        match self {
            Self::CtrlC(event) => event.recv().await,
            Self::CtrlBreak(event) => event.recv().await,
            Self::CtrlClose(event) => event.recv().await,
            Self::CtrlShutdown(event) => event.recv().await,
        }
    }
}

/// Returns all events, each with the exit status of the closest Unix signal.
#[cfg(windows)]
fn subscribe() -> io::Result<Vec<(u8, Event)>> {
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
    Ok(vec![
        (130, Event::CtrlC(ctrl_c()?)),
        (130, Event::CtrlBreak(ctrl_break()?)),
        (129, Event::CtrlClose(ctrl_close()?)),
        (143, Event::CtrlShutdown(ctrl_shutdown()?)),
    ])
}
