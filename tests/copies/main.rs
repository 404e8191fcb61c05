//! What is made of an image that is finished: stages, and the same file system by e2fsprogs.
//!
//! Needs root, Linux and what `tests/rig/install-tools.sh` installs. What is missing skips a test, and fails it where
//! `REQUIRE_ORACLES=1`.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod mke2fs;
mod stage;
#[path = "../support"]
mod support {
    #[expect(dead_code, reason = "other tests want other images")]
    pub(crate) mod build;
    pub(crate) mod hostile;
    #[expect(dead_code, reason = "other tests write to images")]
    pub(crate) mod mount;
    #[expect(dead_code, reason = "other tests compare with an unpack")]
    pub(crate) mod oracles;
    #[expect(dead_code, reason = "other tests want broken images too")]
    pub(crate) mod single_image;
    pub(crate) mod skip;
    #[expect(dead_code, reason = "other tests want broken tars too")]
    pub(crate) mod tar;
    pub(crate) mod unprivileged;
    pub(crate) mod wait;
}
