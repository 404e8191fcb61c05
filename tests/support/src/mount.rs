//! An image in the kernel's hands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::program::succeed;
use super::wait::is_soon;

/// A mounted image, unmounted when dropped.
pub struct Mount {
    directory: PathBuf,
}

impl Mount {
    pub fn read_only(image: &Path) -> Self {
        Self::new(image, "loop,ro")
    }

    pub fn read_write(image: &Path) -> Self {
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

    pub fn tree(&self) -> &Path {
        &self.directory
    }

    /// Unmounts. Fails where that cannot be done, as an image in use is not to be checked, or where the kernel met errors.
    pub fn unmount(self) {
        assert_eq!(self.kernel_errors(), 0, "the kernel met errors");
        // Children that other tests have just made may hold what was open here until they become other programs.
        let unmount = || {
            let umount = Command::new("umount").arg(&self.directory).status();
            umount.expect("umount runs").success()
        };
        assert!(is_soon(unmount), "{} stays busy", self.directory.display());
    }

    /// What `/sys/fs/ext4/<device>/errors_count` counts.
    fn kernel_errors(&self) -> u64 {
        let findmnt = succeed(Command::new("findmnt").args(["-no", "SOURCE"]).arg(&self.directory));
        let source = String::from_utf8_lossy(&findmnt.stdout);
        let device = source.trim().trim_start_matches("/dev/");
        let count = fs::read_to_string(format!("/sys/fs/ext4/{device}/errors_count")).expect("the image is mounted");
        count.trim().parse().expect("the count is a number")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // After `unmount` there is nothing left to do, and this says so by failing.
        let _ = Command::new("umount").arg("--lazy").arg(&self.directory).output();
    }
}
