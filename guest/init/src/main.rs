//! PID 1 of a container image that runs as a virtual machine: makes the system calls that a container engine makes for a container,
//! runs the command, and powers off when it ends.
//!
//! One program serves every image, with or without a shell: it has no library, no heap and no writable memory but its stack, and
//! what it runs and how is in its last segment, which the builder of the image wrote.
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
use end::End;

/// What the kernel starts, by way of `_start`.
#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    if syscall::process_id() != 1 {
        console::say(&[b"has to be the first process of a machine"]);
        syscall::exit(1);
    }
    supervise::listen();
    let configuration = Configuration::get();
    mounts::mount(configuration);
    network::set_up();
    files::complete(configuration);
    let end = match workload::start(configuration) {
        Ok(child) => supervise::until_end(child, configuration.stop_signal()),
        Err(error) => {
            console::warn(&[b"could not start a process"], error);
            End::Status(workload::CANNOT_RUN)
        }
    };
    end::power_off(end)
}

/// A bug here must not look like one of the kernel's, which panics when PID 1 is gone.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    console::say(&[b"internal error"]);
    end::power_off(End::Status(workload::CANNOT_RUN))
}
