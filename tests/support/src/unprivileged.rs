//! Builds by a user other than root.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::program::{latest, program, rootfs_build};

/// A directory for the user 65534: a copy of the program, and a subdirectory that the user can
/// write to.
pub struct Unprivileged(TempDir);

impl Unprivileged {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::copy(program(), directory.path().join("microagent")).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let out = directory.path().join("out");
        fs::create_dir(&out).unwrap();
        chown(&out, Some(65534), Some(65534)).unwrap();
        Self(directory)
    }

    /// Directory that the user can write to.
    pub fn out(&self) -> PathBuf {
        self.path().join("out")
    }

    pub fn image(&self) -> PathBuf {
        self.out().join("image.ext4")
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Command of a build as this user.
    pub fn build(&self, layout: &Path, arguments: &[&str]) -> Command {
        let build = rootfs_build(&latest(layout), "amd64", &self.image());
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(self.path().join("microagent"));
        command.args(build.get_args()).args(arguments);
        command
    }
}
