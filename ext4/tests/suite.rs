//! The tests of the crate that need Rust alone.

mod boot_area;
mod bounds;
mod check;
mod devices;
mod dump;
mod exact;
mod golden;
mod held;
mod journal;
mod lookup;
mod misuse;
mod outputs;
mod places;
mod quota;
mod read;
mod roundtrip;
