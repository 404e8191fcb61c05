//! Fuzzes extended headers: PAX records describe a file, or are an error.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| microagent_fuzz::pax::run(bytes));
