//! Ctrl-C and its kin: the first asks the build to stop and leave nothing, another one ends the process at once.

use std::io;
use std::process;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use layer::cancel::Cancel;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// How long after the first signal another one is taken for the same: `timeout`, for example, sends each twice.
const ECHO: Duration = Duration::from_secs(1);

/// Listens for signals as long as it lives.
pub(super) struct Signals {
    cancel: Cancel,
    first: Arc<OnceLock<FirstSignal>>,
    _stop: oneshot::Sender<()>,
}

/// The signal that came first.
struct FirstSignal {
    exit_status: u8,
    at: Instant,
}

impl Signals {
    /// Begins to listen: to SIGINT, SIGTERM and SIGHUP; on Windows to Ctrl-C, Ctrl-Break, and the end of the console or the machine.
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
        // A runtime that makes the thread itself panics where there is none.
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("signals".to_owned());
        // An error is that the sender was dropped.
        thread.spawn(move || drop(runtime.block_on(stopped)))?;
        Ok(Self {
            cancel,
            first,
            _stop: stop,
        })
    }

    /// The flag that the first signal sets.
    pub(super) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// What the process exits with after a signal, as shells put it: 128 and the number of the signal.
    pub(super) fn exit_status(&self) -> Option<u8> {
        self.first.get().map(|first| first.exit_status)
    }
}

/// Fails where the process may not open the files that tokio needs for signals: with some of them
/// missing, it panics.
#[cfg(unix)]
fn require_descriptors() -> io::Result<()> {
    const PAIRS: usize = 4;
    let pairs = (0..PAIRS).map(|_| std::os::unix::net::UnixStream::pair());
    pairs.collect::<io::Result<Vec<_>>>().map(drop)
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

/// What ends a program on Windows that runs in a console.
#[cfg(windows)]
enum Event {
    CtrlC(tokio::signal::windows::CtrlC),
    CtrlBreak(tokio::signal::windows::CtrlBreak),
    /// The console's window is closed. Windows ends the process itself, some seconds later.
    CtrlClose(tokio::signal::windows::CtrlClose),
    /// The machine goes down.
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

/// With the exit status of the signals that come closest.
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
