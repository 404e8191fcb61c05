//! Messages of tests that are skipped.

use std::io::Write as _;
use std::{env, io};

/// Reports a test as skipped, with the reason. The test has to return then. Panics where
/// `REQUIRE_ORACLES` is 1, so that CI skips no test.
pub fn skip(reason: &str) {
    let required = env::var_os("REQUIRE_ORACLES").is_some_and(|value| value == "1");
    assert!(!required, "{reason}, and REQUIRE_ORACLES=1");
    skip_on_this_machine(reason);
}

/// Reports a test as skipped because of the machine, where no installation would help. Never
/// panics.
pub fn skip_on_this_machine(reason: &str) {
    print_uncaptured(&format!("skipped: {reason}\n"));
}

/// Writes text to standard error directly. The test harness captures what a test prints, and hides
/// it if the test passes.
pub fn print_uncaptured(text: &str) {
    io::stderr().write_all(text.as_bytes()).unwrap();
}
