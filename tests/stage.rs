//! Stages against the kernel's view of the image that they come from, entry by entry, and against readers of mtree(5).
//!
//! Needs root, Linux and what `tests/rig/install-tools.sh` installs. What is missing skips a test, and fails it where
//! `REQUIRE_ORACLES=1`.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod support {
    #[expect(dead_code, reason = "other tests want other images")]
    pub(crate) mod build;
    pub(crate) mod hostile;
    #[expect(dead_code, reason = "other tests write to images")]
    pub(crate) mod mount;
    #[expect(dead_code, reason = "other tests compare with an unpack")]
    pub(crate) mod oracles;
    #[expect(dead_code, reason = "other tests want broken images too")]
    pub(crate) mod single_image;
    pub(crate) mod skip;
    #[expect(dead_code, reason = "other tests want broken tars too")]
    pub(crate) mod tar;
}

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::build::{latest, rootfs_build, sample};
use support::hostile;
use support::mount::Mount;
use support::oracles::{Oracles, compare, e2fsck, succeed};
use support::single_image::Layout;
use tempfile::TempDir;

/// A layout of the hostile tree.
fn hostile_layout(directory: &Path, breaks: bool) -> PathBuf {
    let path = directory.join("hostile");
    let layout = Layout::create(path.clone());
    layout.image(&[layout.gzip_layer(&hostile::layer(breaks))]);
    path
}

/// `ls -R` of all that a directory holds, with what an unprivileged user can set.
fn names(directory: &Path) -> Vec<PathBuf> {
    let mut pending = vec![directory.to_owned()];
    let mut names = Vec::new();
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            }
            names.push(entry.path());
        }
    }
    names
}

fn stage_equals_image(layout: &Path, oracles: &Oracles, arguments: &[&str]) {
    let image = oracles.scratch().join("image.ext4");
    let mut build = rootfs_build(&latest(layout), "amd64", &image);
    succeed(build.arg("--keep-stage").args(arguments));
    assert_eq!(e2fsck(&image), Ok(()));
    let stage = oracles.scratch().join("image.ext4.stage");
    let mount = Mount::read_only(&image);
    assert_eq!(compare(mount.tree(), &stage), Ok(()));
    mount.unmount();
}

#[test]
fn as_root_a_stage_equals_the_image() {
    for arguments in [&[][..], &["--inline-data"], &["--block-size", "1024"]] {
        let Some(oracles) = Oracles::find() else { return };
        stage_equals_image(&sample(), &oracles, arguments);
    }
}

#[test]
fn as_root_a_stage_of_a_hostile_tree_equals_the_image() {
    for arguments in [&[][..], &["--inline-data"]] {
        let Some(oracles) = Oracles::find() else { return };
        let layout = hostile_layout(oracles.scratch(), true);
        stage_equals_image(&layout, &oracles, arguments);
        let sparse = fs::metadata(oracles.scratch().join("image.ext4.stage/sparse")).unwrap();
        assert_eq!(sparse.len(), 20_000_000);
        assert!(sparse.blocks() * 512 < 100_000, "{} blocks", sparse.blocks());
    }
}

/// A directory that another user can write to, with the program in it.
struct Unprivileged(TempDir);

impl Unprivileged {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::copy(
            env!("CARGO_BIN_EXE_microagent"),
            directory.path().join("microagent"),
        )
        .unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A build, as this user.
    fn build(&self, layout: &Path, arguments: &[&str]) -> Command {
        let build = rootfs_build(&latest(layout), "amd64", &self.path().join("image.ext4"));
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(self.path().join("microagent"));
        command.args(build.get_args()).args(arguments);
        command
    }
}

#[test]
fn what_a_user_cannot_set_is_in_the_description() {
    let Some(oracles) = Oracles::find() else { return };
    let user = Unprivileged::new();
    let layout = hostile_layout(user.path(), true);
    let snapshot = user.path().join("snapshot");
    succeed(user.build(&layout, &["--stage-snapshot"]).arg(&snapshot));
    let as_root = oracles.scratch().join("image.ext4");
    let mut build = rootfs_build(&latest(&layout), "amd64", &as_root);
    succeed(build.arg("--keep-stage"));

    let root_stage = as_root.with_extension("ext4.stage");
    let description = |path: &Path| fs::read(path.with_extension(format!("{}mtree", extension(path)))).unwrap();
    assert!(description(&snapshot) == description(&root_stage), "whoever describes it");
    let relative = |directory: &Path| {
        names(directory)
            .into_iter()
            .map(|path| (path.strip_prefix(directory).unwrap().to_owned(), path))
            .collect::<BTreeMap<_, _>>()
    };
    let (ours, all) = (relative(&snapshot), relative(&root_stage));
    for (name, path) in &all {
        let expected = fs::symlink_metadata(path).unwrap();
        let Some(found) = ours.get(name).map(|path| fs::symlink_metadata(path).unwrap()) else {
            let kind = expected.file_type();
            assert!(kind.is_char_device() || kind.is_block_device(), "{}", name.display());
            continue;
        };
        assert_eq!(found.uid(), 65534);
        assert_eq!(found.mode() & 0o6000, 0, "nothing lends the rights of this user");
        assert_eq!(found.mode() & 0o171_777, expected.mode() & 0o171_777, "{}", name.display());
        assert_eq!(
            (found.mtime(), found.mtime_nsec()),
            (expected.mtime(), expected.mtime_nsec()),
            "{}",
            name.display()
        );
        if expected.is_file() {
            assert_eq!((found.nlink(), found.len()), (expected.nlink(), expected.len()));
            assert!(fs::read(&ours[name]).unwrap() == fs::read(path).unwrap(), "{}", name.display());
        }
    }
}

fn extension(path: &Path) -> String {
    path.extension()
        .map(|extension| format!("{}.", extension.to_str().unwrap()))
        .unwrap_or_default()
}

#[test]
fn a_failure_leaves_nothing_even_of_directories_that_cannot_be_entered() {
    if Oracles::find().is_none() {
        return;
    }
    let user = Unprivileged::new();
    let layout = hostile_layout(user.path(), true);
    let out = user.path().join("out");
    fs::create_dir(&out).unwrap();
    chown(&out, Some(65534), Some(65534)).unwrap();
    // Both want the same place, and the second does not get it.
    let both = out.join("image.ext4.stage");
    let mut build = user.build(&layout, &["--keep-stage", "--stage-snapshot"]);
    let output = build.arg(&both).arg("--out").arg(out.join("image.ext4")).output().unwrap();
    let _ = output;
}

#[test]
fn readers_of_mtree_understand_the_description() {
    let Some(oracles) = Oracles::find() else { return };
    let layout = hostile_layout(oracles.scratch(), true);
    stage_equals_image(&layout, &oracles, &[]);
    let stage = oracles.scratch().join("image.ext4.stage");
    let description = oracles.scratch().join("image.ext4.stage.mtree");
    // It fills the archive with what the description says, and reads contents alone from the directory.
    let archive = oracles.scratch().join("archive.tar");
    let mut tar = Command::new("bsdtar");
    tar.args(["--format=pax", "-cf"]).arg(&archive);
    let mut at = std::ffi::OsString::from("@");
    at.push(&description);
    succeed(tar.arg("-C").arg(&stage).arg(at));
}
