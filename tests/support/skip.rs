//! What happens to a test whose tools are not there.

use std::io::Write as _;
use std::{env, io};

/// Says why a test does not run; a failure where `REQUIRE_ORACLES=1` says that all must.
pub(crate) fn skip(reason: &str) {
    let required = env::var_os("REQUIRE_ORACLES").is_some_and(|value| value == "1");
    assert!(!required, "{reason}");
    // Past the test harness, which hides what a passing test prints.
    writeln!(io::stderr(), "skipped: {reason}").expect("stderr is open");
}
