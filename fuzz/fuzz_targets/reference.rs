//! Fuzzes image references: a text keeps its meaning when formatted again, or is an error.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| microagent_fuzz::reference::run(text));
