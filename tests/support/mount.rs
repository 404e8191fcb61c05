//! An image in the kernel's hands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::oracles::succeed;

/// A mounted image, unmounted when dropped.
pub(crate) struct Mount {
    directory: PathBuf,
}

impl Mount {
    pub(crate) fn read_only(image: &Path) -> Self {
        Self::new(image, "loop,ro")
    }

    pub(crate) fn read_write(image: &Path) -> Self {
        Self::new(image, "loop,rw")
    }

    fn new(image: &Path, options: &str) -> Self {
        let directory = image.with_extension("mount");
        fs::create_dir_all(&directory).expect("images lie in a writable directory");
        succeed(
            Command::new("mount")
                .args(["-t", "ext4", "-o", options])
                .arg(image)
                .arg(&directory),
        );
        Self { directory }
    }

    pub(crate) fn tree(&self) -> &Path {
        &self.directory
    }

    /// Unmounts, and fails where that cannot be done: an image that is still in use is not to be checked.
    pub(crate) fn unmount(self) {
        succeed(Command::new("umount").arg(&self.directory));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // After `unmount` there is nothing left to do, and this says so by failing.
        let _ = Command::new("umount").arg("--lazy").arg(&self.directory).output();
    }
}
