//! Tests of the other forms of a finished image: stages, and the same file system made by
//! e2fsprogs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod mke2fs;
mod stage;
