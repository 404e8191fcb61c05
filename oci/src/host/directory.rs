//! Directories by descriptor.

#[cfg(not(unix))]
mod portable;
#[cfg(unix)]
mod unix;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::Path;

use tempfile::Builder;

use super::Identity;

#[cfg(not(unix))]
pub use portable::Directory;
#[cfg(unix)]
pub use unix::Directory;

/// Use of a file that is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading, of a file that anyone may own and change.
    ReadAnyOwner,
    /// Writing too.
    Write,
    /// Writing too, and making the file, with mode 0600, if it is missing.
    Create,
}

impl Directory {
    /// Makes an entry under a hidden name that nothing has: `.microagent-XXXXXXXX.partial`.
    ///
    /// # Errors
    ///
    /// As [`Directory::create_unique_with`].
    pub fn create_hidden_with<T>(&self, make: impl FnMut(&Self, &OsStr) -> io::Result<T>) -> io::Result<(OsString, T)> {
        self.create_unique_with(".microagent-", ".partial", make)
    }

    /// Makes an entry under a name that nothing has, with eight random characters between `prefix`
    /// and `suffix`.
    ///
    /// # Errors
    ///
    /// Those of `make`; it is called again with another name if that fails with `AlreadyExists`.
    pub fn create_unique_with<T>(
        &self,
        prefix: &str,
        suffix: &str,
        mut make: impl FnMut(&Self, &OsStr) -> io::Result<T>,
    ) -> io::Result<(OsString, T)> {
        let mut builder = Builder::new();
        builder.prefix(prefix).rand_bytes(8).suffix(suffix);
        // The crate has the random names and the attempts; only the last part of its path is used.
        // It would remove what has this name in the current directory, and keeping that is more
        // than a flag on Windows.
        builder.disable_cleanup(true);
        let mut hidden = OsString::new();
        let file = builder.make_in("", |path| {
            path.file_name().unwrap_or_default().clone_into(&mut hidden);
            make(self, &hidden)
        })?;
        Ok((hidden, file.into_parts().0))
    }

    /// Returns whether an entry is the file or directory of this identity.
    ///
    /// # Errors
    ///
    /// Those of stat(2).
    pub fn entry_is(&self, name: impl AsRef<OsStr>, identity: Identity) -> io::Result<bool> {
        Ok(self.entry(name)?.is_some_and(|entry| entry.identity == identity))
    }

    /// Makes a file that this process can write and read, under a hidden name.
    ///
    /// # Errors
    ///
    /// As [`Directory::create_new`].
    pub fn create_hidden_file(&self, mode: u32) -> io::Result<(OsString, File)> {
        self.create_hidden_with(|directory, name| directory.create_new(name, mode))
    }
}

/// Returns the directory that a path's last name is in.
#[must_use]
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
