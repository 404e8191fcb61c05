//! What each fuzz target does with its input, and holds the result against.
//!
//! Whatever the input, the answer is a value that is right or an error with a type: a panic, an hour and a gigabyte are findings.

pub mod auth;
pub mod diff;
mod e2fsck;
pub mod image;
pub mod layer;
pub mod manifest;
mod memory;
pub mod pax;
pub mod reference;
pub mod refusal;
pub mod tree;
pub mod verify;
