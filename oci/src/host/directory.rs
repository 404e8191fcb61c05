//! Directories of the host, held open by descriptor.

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

/// Access with which a file of a directory is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read-only.
    Read,
    /// Read-only, for a file that any user may own and change.
    ReadAnyOwner,
    /// Read and write.
    Write,
    /// Read and write. A missing file is created with mode 0600.
    Create,
}

impl Directory {
    /// Creates an entry with `make` under an unused hidden name, `.microagent-XXXXXXXX.partial`.
    /// Returns the name, and the value of `make`.
    ///
    /// # Errors
    ///
    /// As [`Directory::create_unique_with`].
    pub fn create_hidden_with<T>(&self, make: impl FnMut(&Self, &OsStr) -> io::Result<T>) -> io::Result<(OsString, T)> {
        self.create_unique_with(".microagent-", ".partial", make)
    }

    /// Creates an entry with `make` under an unused name, which has eight random characters between
    /// `prefix` and `suffix`. Returns the name, and the value of `make`.
    ///
    /// # Errors
    ///
    /// Those of `make`. After `AlreadyExists`, `make` is called again with another name.
    pub fn create_unique_with<T>(
        &self,
        prefix: &str,
        suffix: &str,
        mut make: impl FnMut(&Self, &OsStr) -> io::Result<T>,
    ) -> io::Result<(OsString, T)> {
        let mut builder = Builder::new();
        builder.prefix(prefix).rand_bytes(8).suffix(suffix);
        // The crate `tempfile` only chooses random names and repeats the attempts. Its cleanup
        // would remove a file of this name in the current directory. Calling `keep` instead would
        // do more than set a flag on Windows.
        builder.disable_cleanup(true);
        let mut hidden = OsString::new();
        let file = builder.make_in("", |path| {
            path.file_name().unwrap_or_default().clone_into(&mut hidden);
            make(self, &hidden)
        })?;
        Ok((hidden, file.into_parts().0))
    }

    /// Returns whether an entry is the file or directory with this identity.
    ///
    /// # Errors
    ///
    /// Those of stat(2).
    pub fn entry_is(&self, name: impl AsRef<OsStr>, identity: Identity) -> io::Result<bool> {
        Ok(self.entry(name)?.is_some_and(|entry| entry.identity == identity))
    }

    /// Creates a file under a hidden name, open for reading and writing. `mode` is applied less the
    /// umask.
    ///
    /// # Errors
    ///
    /// As [`Directory::create_new`].
    pub fn create_hidden_file(&self, mode: u32) -> io::Result<(OsString, File)> {
        self.create_hidden_with(|directory, name| directory.create_new(name, mode))
    }
}

/// Returns the parent of a path: `.` for a path of one name.
#[must_use]
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
