//! Causes of a failed request, as errors of the layers below hold them.

use std::error::Error;
use std::{io, iter};

/// Returns an error and what it comes from, in this order.
pub(super) fn causes<'error>(error: &'error (dyn Error + 'static)) -> Vec<&'error (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        // The source of an `io::Error` is not the error that it wraps, but what comes after.
        Some(error) => error.get_ref().map(|wrapped| wrapped as &(dyn Error + 'static)),
        None => error.source(),
    })
    .collect()
}

/// Returns the error of the system among causes, or the last of them: that one tells something. A
/// chain of six says the same thing in the words of six layers.
pub(super) fn io_error(causes: &[&(dyn Error + 'static)]) -> io::Error {
    match causes.iter().find_map(|cause| cause.downcast_ref::<io::Error>()) {
        Some(error) => match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(error.kind(), error.to_string()),
        },
        None => io::Error::other(causes.last().map(ToString::to_string).unwrap_or_default()),
    }
}
