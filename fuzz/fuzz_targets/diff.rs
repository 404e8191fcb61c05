//! Fuzzes the comparison of images: bytes, taken as an image, are compared with another, or are an
//! error.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| microagent_fuzz::diff::run(bytes));
