//! Shuts the machine down.

use crate::console::{self, Line};
use crate::files;
use crate::syscall::{self, MS_RDONLY, RebootCommand, SIGKILL, STDERR};

/// Time to wait for killed processes, in milliseconds. One that waits for a dead disk never ends.
/// If there is one, the disk gets the same time to become clean.
const KILL_TIMEOUT_MS: u64 = 5_000;

/// Exit status of the command.
#[derive(Clone, Copy)]
pub(crate) enum ExitStatus {
    /// The exit status, 0 to 255.
    Code(u32),
    /// The signal that killed it.
    Signal(u32),
}

impl ExitStatus {
    /// Decodes the status of wait(2).
    pub(crate) fn new(status: u32) -> Self {
        match status & 0x7f {
            0 => Self::Code(status >> 8 & 0xff),
            signal => Self::Signal(signal),
        }
    }
}

/// Kills all processes, makes the disk clean, prints the exit status, and powers off.
///
/// The status comes last, so that the disk is clean for a program that waits for it.
pub(crate) fn power_off(end: ExitStatus) -> ! {
    syscall::signal_all(SIGKILL);
    if wait_for_exit(None) {
        clean_disk();
    } else {
        console::print_line(&[b"some processes would not end"]);
        // What they wait for might block this process too, so another one cleans the disk.
        match syscall::fork() {
            Ok(0) => {
                clean_disk();
                syscall::exit(0);
            }
            Ok(child) if !wait_for_exit(Some(child)) => console::print_line(&[b"the disk may not be clean"]),
            Ok(_) => {}
            Err(error) => console::warn(&[b"could not start a process"], error),
        }
    }
    report(end);
    // Firecracker has no power button on x86: it ends when the machine restarts through the
    // keyboard controller.
    let command = if files::kernel_command_line_has(b"reboot=k") {
        RebootCommand::Restart
    } else {
        RebootCommand::PowerOff
    };
    if let Err(error) = syscall::power(command) {
        console::warn(&[b"could not power off"], error);
    }
    loop {
        syscall::next_signal(None);
    }
}

/// Waits for a process, or for all children. Returns whether they exited in time.
fn wait_for_exit(process: Option<usize>) -> bool {
    let deadline = syscall::uptime() + KILL_TIMEOUT_MS;
    while let Ok(child) = syscall::reap() {
        match child {
            Some((child, _)) if Some(child) == process => return true,
            Some(_) => {}
            None if syscall::uptime() >= deadline => return false,
            None => {
                syscall::next_signal(Some(100));
            }
        }
    }
    true
}

/// Writes everything to the disk, and remounts the root read-only.
fn clean_disk() {
    syscall::sync();
    if syscall::is_writable(c"/")
        && let Err(error) = syscall::remount_root(MS_RDONLY)
    {
        console::warn(&[b"could not make the root read-only"], error);
    }
}

/// Prints the exit status for programs that read the console, on a new line whatever was printed
/// before.
fn report(end: ExitStatus) {
    let mut line = Line::new();
    let (name, number) = match end {
        ExitStatus::Code(status) => (&b"exit status="[..], status),
        ExitStatus::Signal(signal) => (&b"exit signal="[..], signal),
    };
    line.push(name);
    line.push_number(number);
    let _ = syscall::write(STDERR, b"\n");
    line.print();
    syscall::drain(STDERR);
}
