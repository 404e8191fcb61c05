//! Tests of images with e2fsprogs, and with the kernel, which mounts, reads and changes them. They
//! need Linux; tests whose tools or privileges are missing are skipped.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damage;
mod differences;
mod directories;
mod fast_commits;
mod features;
mod growth;
mod hashes;
mod matrix;
mod mutations;
mod orphans;
mod quotas;
mod regressions;
mod replay;
mod setup;
mod shapes;
mod sizes;
mod traces;
mod utilities;
