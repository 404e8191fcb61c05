//! Whole images judged by programs that nobody here wrote: e2fsck, the kernel, umoci, QEMU.
//!
//! Needs Linux, root and the tools of `tests/rig/install-tools.sh`. A missing tool skips a test, and
//! fails it where `REQUIRE_ORACLES=1`.
#![cfg(target_os = "linux")]

#[cfg(target_arch = "x86_64")]
mod boot;
mod certificates;
mod copies;
mod differential;
mod durability;
mod faults;
mod images;
#[cfg(target_arch = "x86_64")]
mod init;
mod neighbours;
mod resources;
