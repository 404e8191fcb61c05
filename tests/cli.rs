//! The `microagent` command as its users meet it: what it prints, what it returns, and what it leaves behind.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod arguments;
mod diff;
mod documentation;
mod failures;
mod guest;
mod inspect;
mod layers;
mod limits;
mod outputs;
mod report;
mod scene;
#[cfg(target_os = "linux")]
mod signals;
mod stage;
mod verbose;
mod verify;
