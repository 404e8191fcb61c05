//! Fuzzes error responses of registries: any challenge and body are read without a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| microagent_fuzz::refusal::run(input));
