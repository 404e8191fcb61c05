//! PID 1 of a container image that runs as a virtual machine. Makes the system calls that a
//! container engine makes for a container, runs the command, and powers off when it ends.
//!
//! One program serves every image, with or without a shell. It has no library, no heap, and no
//! writable memory but its stack. What it runs is in its last segment, which the builder of the
//! image wrote (`guest/configuration`). Everything that the image decides was decided when it was
//! built, so the init parses nothing and only makes system calls.
//!
//! 1. Block signals, so that they can be collected ([`supervise`]).
//! 2. Mount file systems and open the console ([`mounts`]).
//! 3. Bring up the loopback interface ([`network`]), and write the files that an engine writes
//!    ([`files`]).
//! 4. Start the command ([`workload`]), and wait until it ends ([`supervise`]).
//! 5. Kill what still runs, make the disk clean, print the exit status, and power off ([`end`]).
//!
//! The compiled programs are checked in (`src/guest/init`). After a change here, run `just init`;
//! `tests/init.rs` compares them with these sources. Even renaming a function can change their
//! bytes.
#![no_std]
#![no_main]

mod configuration;
mod console;
mod end;
mod files;
mod machine;
mod memory;
mod mounts;
mod network;
mod supervise;
mod syscall;
mod workload;

use core::panic::PanicInfo;

use configuration::Configuration;
use end::ExitStatus;

/// Entry point, called by `_start`.
#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    if syscall::process_id() != 1 {
        console::print_line(&[b"has to be the first process of a machine"]);
        syscall::exit(1);
    }
    supervise::block_signals();
    let configuration = Configuration::get();
    mounts::mount(configuration);
    network::set_up();
    files::set_up(configuration);
    let end = match workload::start(configuration) {
        Ok(child) => supervise::wait_for_command(child, configuration.stop_signal()),
        Err(error) => {
            console::warn(&[b"could not start a process"], error);
            ExitStatus::Code(workload::CANNOT_RUN)
        }
    };
    end::power_off(end)
}

/// Powers off after a panic: if PID 1 exited, the kernel would panic, and the bug would look like
/// one of the kernel.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    console::print_line(&[b"internal error"]);
    end::power_off(ExitStatus::Code(workload::CANNOT_RUN))
}
