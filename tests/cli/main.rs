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
mod verify;
#[path = "../support"]
mod support {
    pub(crate) mod single_image;
    pub(crate) mod skip;
    #[expect(dead_code, reason = "other tests want broken tars too")]
    pub(crate) mod tar;
    #[cfg(target_os = "linux")]
    pub(crate) mod wait;
}
