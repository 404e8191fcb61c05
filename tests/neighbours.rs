//! Builds as root in directories of another user, who puts other things in the place of theirs.
//!
//! The attacker is a thread of the test, which gives all that it makes to that user. What root makes
//! is held for a moment between two system calls (`strace -e inject`), so that each attack comes in time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod attacker;
mod output;
mod stage;
