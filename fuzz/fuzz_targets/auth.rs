//! Bytes, taken as a file of credentials, hold some for an image, none, or are an error.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| microagent_fuzz::auth::run(bytes));
