//! What the tests share: trees with a model of them beside, and readers and tools that judge an image.

#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod check;
pub(crate) mod content;
#[cfg(target_os = "linux")]
pub(crate) mod kernel;
pub(crate) mod listing;
pub(crate) mod model;
pub(crate) mod operations;
pub(crate) mod readback;
pub(crate) mod reader;
pub(crate) mod samples;
pub(crate) mod tools;
