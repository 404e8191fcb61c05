//! Text, taken as an image reference, means the same when it is written out again, or is an error.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| microagent_fuzz::reference::run(text));
