//! What PID 1 does while the command runs: collects what ends, passes signals on, and ends it when asked to.

use crate::console;
use crate::end::End;
use crate::syscall::{self, Power, SIGCHLD, SIGINT, SIGKILL, SIGPWR, SIGTERM};

/// How long the command may take to stop, in milliseconds, as container engines have it; and then
/// to end once it is killed.
const PATIENCE: u64 = 10_000;

/// Begins to collect signals, Ctrl-Alt-Del among them. PID 1 gets only those that it blocks or handles.
pub(crate) fn listen() {
    syscall::block_signals(true);
    // A container may not; a machine without a keyboard has none to press.
    let _ = syscall::power(Power::TellCtrlAltDel);
}

/// Waits for the end of the command. One that is killed and does not end, because it waits for a
/// dead disk, counts as ended.
pub(crate) fn until_end(command: usize, stop_signal: u32) -> End {
    let mut deadline = None;
    let mut is_killed = false;
    loop {
        let left = deadline.map(|deadline: u64| deadline.saturating_sub(syscall::uptime()));
        match syscall::next_signal(left) {
            Some(SIGCHLD) => {
                while let Ok(Some((child, status))) = syscall::reap() {
                    if child == command {
                        return End::new(status);
                    }
                }
            }
            // SIGINT is what Ctrl-Alt-Del sends, SIGPWR what a hypervisor may (signal(7)).
            Some(SIGTERM | SIGINT | SIGPWR) => {
                syscall::signal(command, stop_signal);
                deadline.get_or_insert_with(|| syscall::uptime() + PATIENCE);
            }
            Some(signal) => syscall::signal(command, signal),
            None if left == Some(0) => {
                if is_killed {
                    console::say(&[b"the command does not end"]);
                    return End::Signal(SIGKILL);
                }
                syscall::signal(command, SIGKILL);
                is_killed = true;
                deadline = Some(syscall::uptime() + PATIENCE);
            }
            None => {}
        }
    }
}
