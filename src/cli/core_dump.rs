//! No core dumps: one would hold the credentials of registries.

/// Keeps the kernel from writing core dumps of this process, or handing them to a program.
///
/// The limit is 1 and not 0, which would let programs still have them (core(5), "Piping core dumps to a program").
#[cfg(unix)]
pub(super) fn disable() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let maximum = getrlimit(Resource::Core).maximum;
    let current = Some(maximum.map_or(1, |maximum| maximum.min(1)));
    // Where it is forbidden, it is no reason not to work.
    let _ = setrlimit(Resource::Core, Rlimit { current, maximum });
}

/// Dumps are not made of this process unless somebody asks for one.
#[cfg(not(unix))]
pub(super) fn disable() {}
