//! Fuzzes credentials files: bytes contain credentials for an image, contain none, or are an error.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| microagent_fuzz::auth::run(bytes));
