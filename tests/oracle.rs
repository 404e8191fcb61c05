//! Tests that compare the program with independent ones (e2fsck, the kernel, umoci, skopeo, QEMU),
//! or that need strace or root: `cargo test --test oracle`.
//!
//! They need Linux, root, and the tools of `tests/rig/install-tools.sh`. A missing tool skips a
//! test. With `REQUIRE_ORACLES=1` it fails the test. A test that needs only Rust belongs to
//! `tests/suite.rs`. All modules are in one binary, since each binary links the whole program. What
//! several modules need is in `tests/support`, and scripts are in `tests/rig`.
//!
//! A new case goes to the module of its subject:
//!
//! | module | tests |
//! |---|---|
//! | `boot` | machines in QEMU that boot an image, run its command, and leave a clean disk |
//! | `certificates` | TLS servers with every kind of certificate, compared with skopeo |
//! | `copies` | stages, and `--mke2fs`: other copies of a finished image |
//! | `differential` | random layers, compared with umoci and containerd |
//! | `durability` | the order of writes, fsync and rename, recorded by strace |
//! | `faults` | commands in which strace makes one system call fail |
//! | `hostile_users` | builds in a directory of another user, who swaps files during the build |
//! | `images` | real images: e2fsck, mounts, and a comparison with umoci's tree |
//! | `init` | that the guest's prebuilt programs match their sources |
//! | `resources` | builds with limits on threads and memory |
#![cfg(target_os = "linux")]

#[cfg(target_arch = "x86_64")]
mod boot;
mod certificates;
mod copies;
mod differential;
mod durability;
mod faults;
mod hostile_users;
mod images;
#[cfg(target_arch = "x86_64")]
mod init;
mod resources;
