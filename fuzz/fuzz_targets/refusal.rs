//! An answer that refuses, with a challenge and a body of any form, is read without a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| microagent_fuzz::refusal::run(input));
