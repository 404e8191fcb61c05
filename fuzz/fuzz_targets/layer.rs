//! Fuzzes layers: bytes, taken as layers, become an image that reads back as their tree, or are an
//! error.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| microagent_fuzz::layer::run(bytes));
