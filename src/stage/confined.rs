//! File operations that cannot leave a directory, whatever names and symlinks an image has.
//!
//! On Unix, each component of a path is opened relative to the one before, and never through a
//! symlink. Files are only created, never replaced. On other systems symlinks are not created at
//! all, so none can lead out.

#[cfg(not(unix))]
mod portable;
#[cfg(unix)]
mod unix;

use std::io;

#[cfg(not(unix))]
pub(super) use portable::{ConfinedDirectory, ConfinedRoot};
#[cfg(unix)]
pub(super) use unix::{ConfinedDirectory, ConfinedRoot};

/// Checks that `name` can be the name of an entry. The reader of images accepts no other names;
/// this check does not rely on it.
fn check_name(name: &[u8]) -> io::Result<()> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    Ok(())
}

/// Returns the path of an entry of a directory. Both paths are relative to the root.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"" => name.to_vec(),
        directory => [directory, b"/", name].concat(),
    }
}

/// Returns the names in a path relative to the root, separated by `/`. The root has none.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
}
