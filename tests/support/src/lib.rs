//! Support for the tests, benches and fuzz targets of all crates.
//!
//! | for | modules |
//! |---|---|
//! | layers and images | [`tar`], [`random_layers`], [`single_image`], [`layout`], [`hostile`] |
//! | registries | [`server`], which fails as a test wants; [`registry`], a real one |
//! | file systems | [`model`], [`content`], [`operations`], [`samples`], [`nowhere`] |
//! | readers that share no code with the crates | [`reader`], [`check`], [`readback`], [`listing`] |
//! | judges | [`tools`], [`oracles`], [`kernel`], [`guest_workload`], [`skip`] |
//! | the program under test | [`program`], [`unprivileged`], [`wait`] |
//!
//! The scripts that the oracles need are in `tests/rig`.
#![allow(
    missing_debug_implementations,
    missing_docs,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::new_without_default,
    clippy::return_self_not_must_use,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and reads what it calls"
)]

pub mod check;
pub mod content;
#[cfg(unix)]
pub mod guest_workload;
pub mod hostile;
#[cfg(target_os = "linux")]
pub mod kernel;
pub mod layout;
pub mod listing;
pub mod model;
pub mod nowhere;
pub mod operations;
#[cfg(unix)]
pub mod oracles;
pub mod program;
pub mod random_layers;
pub mod readback;
pub mod reader;
pub mod registry;
pub mod samples;
pub mod server;
pub mod single_image;
pub mod skip;
pub mod tar;
pub mod tools;
#[cfg(unix)]
pub mod unprivileged;
pub mod wait;
