//! Disables core dumps, which would contain credentials of registries.

/// Prevents the kernel from writing a core dump of this process to a file or a pipe.
///
/// The limit is 1, not 0: with 0, the kernel still pipes core dumps to a program (core(5), "Piping
/// core dumps to a program").
#[cfg(unix)]
pub(super) fn disable() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let maximum = getrlimit(Resource::Core).maximum;
    let current = Some(maximum.map_or(1, |maximum| maximum.min(1)));
    // If the limit cannot be set, the command runs anyway.
    let _ = setrlimit(Resource::Core, Rlimit { current, maximum });
}

/// Does nothing: other systems write no dump of this process by default.
#[cfg(not(unix))]
pub(super) fn disable() {}
