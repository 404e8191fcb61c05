//! Skipping of tests whose tools are missing.

use std::io::Write as _;
use std::{env, io};

/// Says why a test does not run; a failure where `REQUIRE_ORACLES=1` says that all must.
pub fn skip(reason: &str) {
    let required = env::var_os("REQUIRE_ORACLES").is_some_and(|value| value == "1");
    assert!(!required, "{reason}, and REQUIRE_ORACLES=1");
    skip_on_this_machine(reason);
}

/// Says why a test does not run on this machine, whatever is installed.
pub fn skip_on_this_machine(reason: &str) {
    say(&format!("skipped: {reason}\n"));
}

/// Says something, past the test harness, which hides what a passing test prints.
pub fn say(text: &str) {
    io::stderr().write_all(text.as_bytes()).unwrap();
}
