//! Waiting for a condition that another thread or process makes true.

use std::thread;
use std::time::{Duration, Instant};

/// Waits until a condition is true, and returns whether that happened within a minute, which
/// suffices on a busy machine.
pub fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if begun.elapsed() > Duration::from_mins(1) {
            return false;
        }
        thread::sleep(Duration::from_millis(50));
    }
}
