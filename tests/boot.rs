//! Whole machines: images that boot, run what a container would have run, and leave a clean disk.
//!
//! Needs e2fsck, what `just machines` fetches into `$BOOT_CACHE`, by default `target/boot`, and the image of systemd that
//! `tests/rig/make-images.sh` makes. What is missing skips a test, and fails it where `REQUIRE_ORACLES=1`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod end;
mod inits;
mod machine;
mod process;
