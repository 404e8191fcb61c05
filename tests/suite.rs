//! Tests of the program and its library that need only Rust: `cargo test --test suite`.
//!
//! They run on every system, as any user. A few of `sources` also ask skopeo, openssl or a real
//! registry where these are installed. A test that cannot do without root or an external program
//! belongs to `tests/oracle.rs`. All modules are in one binary, since each binary links the whole
//! program. What several modules need is in `tests/support`.
//!
//! A new case goes to the module of its subject:
//!
//! | module | tests |
//! |---|---|
//! | `cli` | commands: arguments, output, JSON, exit codes, messages and hints, signals |
//! | `devices` | builds into devices and other outputs of a fixed size |
//! | `diff` | `rootfs diff`: each kind of difference |
//! | `golden` | SHA-256 of whole disk images, from a table |
//! | `guarantees` | that README's table of guarantees has a test for each cell |
//! | `imports` | that the modules of a crate import each other without cycles |
//! | `layers` | the trees that layers result in, in a short notation |
//! | `readers` | disk images that are read from memory, from part of a file, or over a network |
//! | `sample` | the image in `examples/hello` |
//! | `sources` | registries, layouts, archives, credentials, and the blob store |

mod cli;
mod devices;
mod diff;
mod golden;
mod guarantees;
mod imports;
mod layers;
mod readers;
mod sample;
mod sources;
