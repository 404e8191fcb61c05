//! What is where a file shall be.

use std::fs::{self, FileType};
use std::io;
use std::path::{Path, is_separator};

/// What a renamed file would take the place of.
///
/// Only a regular file can be replaced by renaming: a device or a FIFO would lose its meaning, and whether a symlink or the file
/// behind it was meant is not for us to guess.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Free,
    File,
    /// What is there: a `directory`, `symlink`, `device`, …
    Taken(&'static str),
}

impl Place {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => Ok(Self::File),
            Ok(metadata) => Ok(Self::Taken(kind_name(metadata.file_type()))),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Err(_) if names_a_directory(path) => Ok(Self::Taken("directory")),
            Err(_) => Ok(Self::Free),
        }
    }
}

/// Whether the path can only be that of a directory, existing or not: `images/`, `..`.
fn names_a_directory(target: &Path) -> bool {
    target.file_name().is_none() || target.to_string_lossy().ends_with(is_separator)
}

fn kind_name(file_type: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if file_type.is_block_device() || file_type.is_char_device() {
            return "device";
        }
        if file_type.is_fifo() {
            return "FIFO";
        }
        if file_type.is_socket() {
            return "socket";
        }
    }
    if file_type.is_symlink() {
        "symlink"
    } else if file_type.is_dir() {
        "directory"
    } else {
        "special file"
    }
}
