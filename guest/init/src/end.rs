//! The end of the machine.

use crate::console::{self, Line};
use crate::files;
use crate::syscall::{self, MS_RDONLY, Power, SIGKILL, STDERR};

/// How long to wait for killed processes, in milliseconds: one that waits for a dead disk never
/// ends. If there is one, the disk gets as long to become clean.
const PATIENCE: u64 = 5_000;

/// How the command ended.
#[derive(Clone, Copy)]
pub(crate) enum End {
    /// It returned a status, 0 to 255.
    Status(u32),
    /// A signal ended it.
    Signal(u32),
}

impl End {
    /// From the status of wait(2).
    pub(crate) fn new(status: u32) -> Self {
        match status & 0x7f {
            0 => Self::Status(status >> 8 & 0xff),
            signal => Self::Signal(signal),
        }
    }
}

/// Ends what still runs, makes the disk clean, says how the command ended, and powers off.
///
/// That line comes last, so that whoever waits for it finds the disk clean.
pub(crate) fn power_off(end: End) -> ! {
    syscall::signal_all(SIGKILL);
    if have_ended(None) {
        clean_disk();
    } else {
        console::say(&[b"some processes would not end"]);
        // What they wait for might hold this one up too.
        match syscall::fork() {
            Ok(0) => {
                clean_disk();
                syscall::exit(0);
            }
            Ok(child) if !have_ended(Some(child)) => console::say(&[b"the disk may not be clean"]),
            Ok(_) => {}
            Err(error) => console::warn(&[b"could not start a process"], error),
        }
    }
    report(end);
    // Firecracker has no power button on x86: it ends when the machine restarts, by the keyboard controller.
    let power = if files::kernel_command_line_has(b"reboot=k") {
        Power::Restart
    } else {
        Power::Off
    };
    if let Err(error) = syscall::power(power) {
        console::warn(&[b"could not power off"], error);
    }
    loop {
        syscall::next_signal(None);
    }
}

/// Waits for a process, or for all, and returns whether they ended.
fn have_ended(process: Option<usize>) -> bool {
    let deadline = syscall::uptime() + PATIENCE;
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

fn clean_disk() {
    syscall::sync();
    if syscall::is_writable(c"/")
        && let Err(error) = syscall::remount_root(MS_RDONLY)
    {
        console::warn(&[b"could not make the root read-only"], error);
    }
}

/// The line that programs read, on a line of its own whatever was printed before.
fn report(end: End) {
    let mut line = Line::new();
    let (name, number) = match end {
        End::Status(status) => (&b"exit status="[..], status),
        End::Signal(signal) => (&b"exit signal="[..], signal),
    };
    line.push(name);
    line.push_number(number);
    let _ = syscall::write(STDERR, b"\n");
    line.print();
    syscall::drain(STDERR);
}
