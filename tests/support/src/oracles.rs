//! The judges of an image: e2fsck, the kernel, and an unpack of the same layers by a program that is not ours.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use tempfile::TempDir;

use super::program::{repository, succeed, target_directory};
use super::skip::skip;
use super::tools;

const PROGRAMS: [&str; 18] = [
    "bsdtar", "cmp", "cp", "debugfs", "dumpe2fs", "e2fsck", "findmnt", "gzip", "mount", "mtree", "python3", "setfattr",
    "setpriv", "strace", "taskset", "umoci", "umount", "zstd",
];

/// Proof that the oracles can run: root, and every program there.
pub struct Oracles {
    scratch: TempDir,
}

impl Oracles {
    /// `None`, with the reason on stderr, where something is missing and `REQUIRE_ORACLES` is not 1.
    pub fn find() -> Option<Self> {
        if fs::metadata("/proc/self").map_or(0, |process| process.uid()) != 0 {
            skip("only root can mount an image and unpack devices");
            return None;
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let directories: Vec<PathBuf> = env::split_paths(&path).collect();
        let there = |program: &&&str| directories.iter().any(|directory| directory.join(program).is_file());
        if let Some(program) = PROGRAMS.iter().find(|program| !there(program)) {
            skip(&format!("{program} is not installed"));
            return None;
        }
        let scratch = TempDir::new_in(target_directory()).expect("the target directory is writable");
        Some(Self { scratch })
    }

    /// A directory that goes when the test ends.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The tree that umoci makes of a layout.
    pub fn reference(&self, layout: &Path, architecture: &str) -> PathBuf {
        let tree = self.scratch().join("reference");
        succeed(rig("reference_unpack.py").arg(layout).arg(architecture).arg(&tree));
        tree
    }

    /// A copy of an image that a test may spoil; holes stay holes.
    pub fn copy(&self, image: &Path) -> PathBuf {
        let copy = self.scratch().join("copy.ext4");
        succeed(Command::new("cp").arg("--sparse=always").arg(image).arg(&copy));
        copy
    }
}

/// Returns the complaint of e2fsck about an image, or of our own check; `Ok` if there is none.
pub fn e2fsck(image: &Path) -> Result<(), String> {
    tools::complaint(image).map_or(Ok(()), Err)
}

/// How a tree differs from the reference, `Ok` where it does not.
pub fn compare(reference: &Path, tree: &Path) -> Result<(), String> {
    let output = rig("compare_trees.py")
        .arg(reference)
        .arg(tree)
        .output()
        .expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(said),
        _ => panic!("{}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn rig(script: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(repository().join("tests/rig").join(script));
    command
}
