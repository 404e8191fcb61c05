//! The end of the machine.

use crate::console::{self, Line};
use crate::files;
use crate::syscall::{self, MS_RDONLY, Power, SIGKILL, STDERR};

/// How long to wait for killed processes, in milliseconds: one that waits for a dead disk never ends.
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
    end_processes();
    syscall::sync();
    if syscall::is_writable(c"/")
        && let Err(error) = syscall::remount_root(MS_RDONLY)
    {
        console::warn(&[b"could not make the root read-only"], error);
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

fn end_processes() {
    syscall::signal_all(SIGKILL);
    let deadline = syscall::uptime() + PATIENCE;
    while let Ok(child) = syscall::reap() {
        if child.is_none() {
            if syscall::uptime() >= deadline {
                return console::say(&[b"some processes would not end"]);
            }
            syscall::next_signal(Some(100));
        }
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
