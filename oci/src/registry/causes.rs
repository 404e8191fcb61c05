//! Chains of causes in the errors of `reqwest` and the libraries below it.

use std::error::Error;
use std::{io, iter};

/// Returns an error and its causes, outermost first.
pub(super) fn causes<'error>(error: &'error (dyn Error + 'static)) -> Vec<&'error (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        // `io::Error::source` skips the error that it wraps, and returns the source of that one.
        Some(error) => error.get_ref().map(|wrapped| wrapped as &(dyn Error + 'static)),
        None => error.source(),
    })
    .collect()
}

/// Returns the error of the operating system among causes, or the last cause if the system reported
/// no error. The other causes only repeat it in the words of each layer.
pub(super) fn io_error(causes: &[&(dyn Error + 'static)]) -> io::Error {
    match causes.iter().find_map(|cause| cause.downcast_ref::<io::Error>()) {
        Some(error) => match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(error.kind(), error.to_string()),
        },
        None => io::Error::other(causes.last().map(ToString::to_string).unwrap_or_default()),
    }
}
