//! Tests of the crate that need only Rust. Tests that need tools or the kernel are in `oracle`.

mod block_owners;
mod boot_area;
mod bounds;
mod check;
mod devices;
mod dump;
mod exact_sizes;
mod golden;
mod held_inodes;
mod journal;
mod lookup;
mod misuse;
mod outputs;
mod quota;
mod read;
mod roundtrip;
