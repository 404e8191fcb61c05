//! Fuzzes the check: bytes, taken as an image, are checked to the end, and a clean image can be
//! read.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| microagent_fuzz::verify::run(bytes));
