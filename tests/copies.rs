//! What is made of an image that is finished: stages, and the same file system by e2fsprogs.
//!
//! Needs root, Linux and what `tests/rig/install-tools.sh` installs. What is missing skips a test, and fails it where
//! `REQUIRE_ORACLES=1`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod mke2fs;
mod stage;
