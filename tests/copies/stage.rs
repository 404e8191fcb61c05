//! Tests that a stage and its mtree(5) description equal the image, entry by entry, through the
//! kernel, and by other readers of mtree(5).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::hostile::hostile_layout;
use support::kernel::Mount;
use support::oracles::{Oracles, compare_trees, e2fsck};
use support::program::{latest, rootfs_build, sample, succeed};
use support::unprivileged::Unprivileged;

/// Returns the paths of all entries below a directory.
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

/// Builds an image and a stage as root, and checks that they have the same entries.
fn check_stage_equals_image(layout: &Path, oracles: &Oracles, arguments: &[&str]) {
    let image = oracles.scratch().join("image.ext4");
    let mut build = rootfs_build(&latest(layout), "amd64", &image);
    succeed(build.arg("--keep-stage").args(arguments));
    assert_eq!(e2fsck(&image), Ok(()));
    let stage = oracles.scratch().join("image.ext4.stage");
    let mount = Mount::read_only(&image);
    assert_eq!(compare_trees(mount.path(), &stage), Ok(()));
    mount.unmount();
}

#[test]
fn as_root_a_stage_equals_the_image() {
    for arguments in [&[][..], &["--inline-data"], &["--block-size", "1024"]] {
        let Some(oracles) = Oracles::find() else { return };
        check_stage_equals_image(&sample(), &oracles, arguments);
    }
}

#[test]
fn as_root_a_stage_of_a_hostile_tree_equals_the_image() {
    for arguments in [&[][..], &["--inline-data"]] {
        let Some(oracles) = Oracles::find() else { return };
        let layout = hostile_layout(oracles.scratch());
        check_stage_equals_image(&layout, &oracles, arguments);
        let sparse = fs::metadata(oracles.scratch().join("image.ext4.stage/sparse")).unwrap();
        assert_eq!(sparse.len(), 20_000_000);
        assert!(sparse.blocks() * 512 < 100_000, "{} blocks", sparse.blocks());
    }
}

#[test]
fn description_has_the_metadata_that_a_user_cannot_set() {
    let Some(oracles) = Oracles::find() else { return };
    let user = Unprivileged::new();
    let layout = hostile_layout(user.path());
    let snapshot = user.out().join("snapshot");
    succeed(user.build(&layout, &["--stage-snapshot"]).arg(&snapshot));
    let as_root = oracles.scratch().join("image.ext4");
    let mut build = rootfs_build(&latest(&layout), "amd64", &as_root);
    succeed(build.arg("--keep-stage"));

    let root_stage = as_root.with_extension("ext4.stage");
    let description = |path: &Path| fs::read(path.with_extension(format!("{}mtree", extension(path)))).unwrap();
    assert!(
        description(&snapshot) == description(&root_stage),
        "the descriptions by root and by another user differ"
    );
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
        assert_eq!(
            found.mode() & 0o6000,
            0,
            "setuid and setgid bits would lend the rights of this user"
        );
        assert_eq!(
            found.mode() & 0o171_777,
            expected.mode() & 0o171_777,
            "{}",
            name.display()
        );
        assert_eq!(
            (found.mtime(), found.mtime_nsec()),
            (expected.mtime(), expected.mtime_nsec()),
            "{}",
            name.display()
        );
        if expected.is_file() {
            assert_eq!((found.nlink(), found.len()), (expected.nlink(), expected.len()));
            assert!(
                fs::read(&ours[name]).unwrap() == fs::read(path).unwrap(),
                "{}",
                name.display()
            );
        }
    }
}

/// Returns the extension of a path with a dot after it, or an empty string.
fn extension(path: &Path) -> String {
    path.extension()
        .map(|extension| format!("{}.", extension.to_str().unwrap()))
        .unwrap_or_default()
}

#[test]
fn a_failure_removes_directories_that_cannot_be_entered() {
    if Oracles::find().is_none() {
        return;
    }
    let user = Unprivileged::new();
    let layout = hostile_layout(user.path());
    // Both stages have the same path, so the second fails.
    let taken = user.out().join("image.ext4.stage");
    let mut build = user.build(&layout, &["--mode", "ax", "--keep-stage", "--stage-snapshot"]);
    let output = build.arg(&taken).output().unwrap();
    let failure: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(failure["error"]["kind"], "conflict", "{failure}");
    assert!(
        failure["error"]["message"]
            .as_str()
            .unwrap()
            .contains(taken.to_str().unwrap())
    );
    assert_eq!(names(&user.out()), Vec::<PathBuf>::new());
}

/// Builds a stage as another user. Returns its directory, and its description without extended
/// attributes, which only go-mtree supports.
fn unprivileged_stage(user: &Unprivileged) -> (PathBuf, PathBuf) {
    let layout = hostile_layout(user.path());
    let snapshot = user.out().join("snapshot");
    succeed(user.build(&layout, &["--stage-snapshot"]).arg(&snapshot));
    let description = user.path().join("plain.mtree");
    let text = fs::read_to_string(user.out().join("snapshot.mtree")).unwrap();
    let plain = |line: &str| line.split(" xattr.").next().unwrap().to_owned() + "\n";
    fs::write(&description, text.lines().map(plain).collect::<String>()).unwrap();
    (snapshot, description)
}

#[test]
fn bsdtar_archive_of_the_description_equals_the_image() {
    let Some(oracles) = Oracles::find() else { return };
    let user = Unprivileged::new();
    let (snapshot, description) = unprivileged_stage(&user);
    // Bsdtar reads contents from the directory, and metadata from the description.
    let archive = oracles.scratch().join("archive.tar");
    let mut at = OsString::from("@");
    at.push(description);
    let mut pack = Command::new("bsdtar");
    pack.args(["--format=pax", "-cf"])
        .arg(&archive)
        .arg("-C")
        .arg(&snapshot);
    succeed(pack.arg(at));
    let tree = oracles.scratch().join("tree");
    fs::create_dir(&tree).unwrap();
    let mut unpack = Command::new("bsdtar");
    unpack
        .args(["--numeric-owner", "-xpf"])
        .arg(&archive)
        .arg("-C")
        .arg(&tree);
    succeed(&mut unpack);
    let mount = Mount::read_only(&user.image());
    let differences = compare_trees(mount.path(), &tree).unwrap_err();
    mount.unmount();
    // Bsdtar stores extended attributes and hard links only if the directory has them, and writes
    // into the root last.
    let expected = ["links: /", "xattrs: /", "mtime: / "];
    let (lines, summary) = differences.trim_end().rsplit_once('\n').unwrap();
    let is_expected = |line: &str| expected.iter().any(|start| line.starts_with(start));
    assert!(lines.lines().all(is_expected), "{differences}");
    let kinds = summary.split(", ").map(|kind| kind.split_once(' ').unwrap().1);
    assert_eq!(kinds.collect::<Vec<_>>(), ["links", "mtime", "xattrs"], "{differences}");
}

#[test]
fn mtree_accepts_the_description_for_a_stage_of_root() {
    let Some(oracles) = Oracles::find() else { return };
    let user = Unprivileged::new();
    let (_, description) = unprivileged_stage(&user);
    let image = oracles.scratch().join("image.ext4");
    let layout = user.path().join("hostile");
    succeed(rootfs_build(&latest(&layout), "amd64", &image).arg("--keep-stage"));
    let stage = oracles.scratch().join("image.ext4.stage");
    let verify = || {
        let mut mtree = Command::new("mtree");
        mtree
            .arg("-p")
            .arg(&stage)
            .arg("-f")
            .arg(&description)
            .output()
            .unwrap()
    };
    let output = verify();
    assert!(
        output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
    fs::write(stage.join("large"), "small").unwrap();
    assert!(!verify().status.success());
}
