//! Waiting for what happens by itself, and soon, unless it never does.

use std::thread;
use std::time::{Duration, Instant};

/// Waits until something is so, and says whether it is within a minute, which is long for a machine that is busy too.
pub fn is_soon(mut is_so: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if begun.elapsed() > Duration::from_mins(1) {
            return false;
        }
        thread::sleep(Duration::from_millis(50));
    }
}
