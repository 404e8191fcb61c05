//! The tests of the program and its library that need Rust alone.

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
