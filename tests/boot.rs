//! Tests that images boot in a machine, run their command as a container would, and leave a clean
//! disk.
//!
//! Needs e2fsck, the kernels and QEMU that `just machines` downloads into `$BOOT_CACHE`, by default
//! `target/boot`, and the image of systemd that `tests/rig/make-images.sh` makes. A missing tool
//! skips a test, and fails it where `REQUIRE_ORACLES=1`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod end;
mod inits;
mod machine;
mod process;
