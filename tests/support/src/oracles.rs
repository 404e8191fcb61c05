//! Independent programs that a built image is compared with: e2fsck, the kernel, and umoci, which
//! unpacks the same layers.

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

/// Proof that the oracles can run: the process is root, and every program is installed.
pub struct Oracles {
    scratch: TempDir,
}

impl Oracles {
    /// Returns `None` and reports the test as skipped if the user is not root or a program is
    /// missing. Panics instead where `REQUIRE_ORACLES` is 1.
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

    /// Returns a directory that is removed when the test ends.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Unpacks a layout with umoci, and returns the path of the tree.
    pub fn unpack_with_umoci(&self, layout: &Path, architecture: &str) -> PathBuf {
        let tree = self.scratch().join("reference");
        succeed(
            rig_script("reference_unpack.py")
                .arg(layout)
                .arg(architecture)
                .arg(&tree),
        );
        tree
    }

    /// Copies an image for a test that changes it. Holes stay holes.
    pub fn copy(&self, image: &Path) -> PathBuf {
        let copy = self.scratch().join("copy.ext4");
        succeed(Command::new("cp").arg("--sparse=always").arg(image).arg(&copy));
        copy
    }
}

/// Checks an image with `e2fsck -fn` and [`ext4::check()`].
///
/// # Errors
///
/// The output of the first that finds a problem.
pub fn e2fsck(image: &Path) -> Result<(), String> {
    tools::problems(image).map_or(Ok(()), Err)
}

/// Compares a tree with a reference, entry by entry.
///
/// # Errors
///
/// The list of differences.
pub fn compare_trees(reference: &Path, tree: &Path) -> Result<(), String> {
    let output = rig_script("compare_trees.py")
        .arg(reference)
        .arg(tree)
        .output()
        .expect("python3 runs");
    let differences = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(differences),
        _ => panic!("{}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn rig_script(script: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(repository().join("tests/rig").join(script));
    command
}
