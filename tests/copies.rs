//! Copies of a finished image: stages, and the same file system by e2fsprogs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod mke2fs;
mod stage;
