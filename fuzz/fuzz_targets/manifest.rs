//! Fuzzes documents: an index, manifest and config are an image that can boot, or an error.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| microagent_fuzz::manifest::run(bytes));
