//! A directory of the host, and nothing else of it: whatever names and symlinks an image has, files are made inside.
//!
//! On Unix each component of a path is opened on its own, relative to the one before, and never through a symlink; files are
//! made where nothing is yet. Elsewhere there are no symlinks that could lead anywhere: they are not made.

#[cfg(not(unix))]
mod portable;
#[cfg(unix)]
mod unix;

use std::io;

#[cfg(not(unix))]
pub(super) use portable::{Directory, Root};
#[cfg(unix)]
pub(super) use unix::{Directory, Root};

/// Refuses what is not the name of an entry. An image that was read holds no such name; this needs no trust in that.
fn check(name: &[u8]) -> io::Result<()> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    Ok(())
}

/// The path of an entry of a directory, whose path is below the root too.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"" => name.to_vec(),
        directory => [directory, b"/", name].concat(),
    }
}

/// The components of a path below the root, in which `/` separates names; that of the root has none.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
}
