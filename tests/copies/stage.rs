//! Stages against the kernel's view of the image that they come from, entry by entry, and against readers of mtree(5).

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
    assert_eq!(compare_trees(mount.path(), &stage), Ok(()));
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
        let layout = hostile_layout(oracles.scratch());
        stage_equals_image(&layout, &oracles, arguments);
        let sparse = fs::metadata(oracles.scratch().join("image.ext4.stage/sparse")).unwrap();
        assert_eq!(sparse.len(), 20_000_000);
        assert!(sparse.blocks() * 512 < 100_000, "{} blocks", sparse.blocks());
    }
}

#[test]
fn what_a_user_cannot_set_is_in_the_description() {
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
        "whoever describes it"
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
        assert_eq!(found.mode() & 0o6000, 0, "nothing lends the rights of this user");
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
    let layout = hostile_layout(user.path());
    // Both want one place, and the second doesn't get it.
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

/// A stage that another user exported, as its directory and its description without attributes, which only go-mtree knows.
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
fn an_archive_of_the_description_is_the_image() {
    let Some(oracles) = Oracles::find() else { return };
    let user = Unprivileged::new();
    let (snapshot, description) = unprivileged_stage(&user);
    // Bsdtar takes contents from the directory, and all else from the description.
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
    // It makes an archive of attributes and hard links only where it finds those itself, and writes into the root at the end.
    let expected = ["links: /", "xattrs: /", "mtime: / "];
    let (lines, summary) = differences.trim_end().rsplit_once('\n').unwrap();
    let is_expected = |line: &str| expected.iter().any(|start| line.starts_with(start));
    assert!(lines.lines().all(is_expected), "{differences}");
    let kinds = summary.split(", ").map(|kind| kind.split_once(' ').unwrap().1);
    assert_eq!(kinds.collect::<Vec<_>>(), ["links", "mtime", "xattrs"], "{differences}");
}

#[test]
fn the_description_is_true_of_a_stage_of_root() {
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
    let said = verify();
    assert!(
        said.status.success() && said.stdout.is_empty() && said.stderr.is_empty(),
        "{said:?}"
    );
    fs::write(stage.join("large"), "small").unwrap();
    assert!(!verify().status.success());
}
