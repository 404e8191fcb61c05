//! Builds as root in a directory of a hostile user, who replaces the build's files while it runs.
//!
//! The attacker is a thread of the test. It changes the owner of all files that it creates to that
//! user. `strace -e inject` delays the build after chosen system calls, so that each attack happens
//! in time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod attacker;
mod output;
mod stage;
