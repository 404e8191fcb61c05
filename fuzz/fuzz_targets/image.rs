//! Fuzzes the reader: bytes, taken as an image, are read to the end, or are an error.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| microagent_fuzz::image::run(bytes));
