//! Fuzzes the formatter: options and operations become an image that reads back as the tree.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: microagent_fuzz::tree::Input| microagent_fuzz::tree::run(input));
