//! Supervises the command: reaps processes, forwards signals, and stops the command when asked to.

use crate::console;
use crate::end::ExitStatus;
use crate::syscall::{self, RebootCommand, SIGCHLD, SIGINT, SIGKILL, SIGPWR, SIGTERM};

/// Time that the command has to stop, in milliseconds, as in container engines. Once it is killed,
/// it has this time to end.
const STOP_TIMEOUT_MS: u64 = 10_000;

/// Blocks signals, so that they can be collected, and has Ctrl-Alt-Del send one. PID 1 gets only
/// signals that it blocks or handles.
pub(crate) fn block_signals() {
    syscall::block_signals(true);
    // Not allowed in a container, and without effect on a machine without a keyboard.
    let _ = syscall::power(RebootCommand::SignalOnCtrlAltDel);
}

/// Waits until the command ends. A command that has not ended ten seconds after SIGKILL, for
/// example because it waits for a dead disk, counts as ended.
pub(crate) fn wait_for_command(command: usize, stop_signal: u32) -> ExitStatus {
    let mut deadline = None;
    let mut killed = false;
    loop {
        let left = deadline.map(|deadline: u64| deadline.saturating_sub(syscall::uptime()));
        match syscall::next_signal(left) {
            Some(SIGCHLD) => {
                while let Ok(Some((child, status))) = syscall::reap() {
                    if child == command {
                        return ExitStatus::new(status);
                    }
                }
            }
            // Ctrl-Alt-Del sends SIGINT. A hypervisor may send SIGPWR (signal(7)).
            Some(SIGTERM | SIGINT | SIGPWR) => {
                syscall::signal(command, stop_signal);
                deadline.get_or_insert_with(|| syscall::uptime() + STOP_TIMEOUT_MS);
            }
            Some(signal) => syscall::signal(command, signal),
            None if left == Some(0) => {
                if killed {
                    console::print_line(&[b"the command does not end"]);
                    return ExitStatus::Signal(SIGKILL);
                }
                syscall::signal(command, SIGKILL);
                killed = true;
                deadline = Some(syscall::uptime() + STOP_TIMEOUT_MS);
            }
            None => {}
        }
    }
}
