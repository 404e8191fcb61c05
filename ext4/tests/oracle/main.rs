//! Images judged from outside: by e2fsprogs and by the kernel, which mounts them, reads all back and uses them.

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
