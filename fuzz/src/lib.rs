//! Fuzz targets: what each does with its input, and what it asserts.
//!
//! For any input, the result must be a correct value or a typed error. A panic, a run of more than
//! ten seconds and a gigabyte of memory are failures.
//!
//! A new target needs:
//!
//! - `src/NAME.rs` with a function `run`, listed below, and `fuzz_targets/NAME.rs`, which calls it;
//! - a `[[bin]]` in `Cargo.toml`. `just fuzz`, `.ci/run` and the nightly run find it there;
//! - seeds in `seeds/NAME`, written by `examples/seeds.rs`: `just seeds`;
//! - optionally, words in `dictionaries/NAME`, which `just fuzz` finds by the name;
//! - if it makes images, its name in the recipe `fuzz-e2fsck` of the `justfile`.
//!
//! A private parser is reached through a module `fuzzing` of its crate, behind `cfg(fuzzing)`.

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
