//! Directories that only their owner can enter: blobs of private images lie in the state directory.

use std::fs::DirBuilder;
use std::io;
use std::path::Path;

/// Makes a directory, and those that it is to be in, with mode 0700 where there are modes. One that exists stays as it is.
pub(super) fn create_directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
