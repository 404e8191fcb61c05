//! Shared code of the tests, benches and fuzz targets of all crates.
//!
//! | to test | use |
//! |---|---|
//! | how a layer is applied | [`tar`] for its bytes, [`random_layers`] for random ones |
//! | a build of a correct image | [`single_image`]; [`hostile`] for difficult names and metadata |
//! | a manifest, index or config, correct or not | [`layout`] |
//! | a download | [`server`], which fails as the test asks; [`registry`], a real registry |
//! | what the formatter writes | [`model`], with [`content`], [`samples`] and [`operations`] |
//! | the speed of the formatter, or that it does not panic | [`null_output`] |
//! | that an image is consistent | [`check`], in memory; [`tools`], with e2fsprogs |
//! | that an image reads back | [`readback`], by way of [`reader`]; [`listing`] for two images |
//! | an image in the kernel | [`kernel`], [`guest_workload`] |
//! | a build against umoci's result | [`oracles`] |
//! | the command | [`program`]; [`unprivileged`] for a user other than root; [`wait`] |
//!
//! A test that needs a program, root or the kernel belongs in the test binary `oracle` of its crate
//! and returns early, by way of [`skip`], where they are missing. All other tests belong in
//! `suite`. A new file of tests is a `mod` in `tests/suite.rs`, `tests/oracle.rs`,
//! `ext4/tests/suite.rs` or `ext4/tests/oracle/main.rs`. A program that a test needs is installed
//! by `tests/rig/install-tools.sh`.
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
pub mod null_output;
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
