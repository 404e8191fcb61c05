//! Tests that images made by e2fsprogs have the same tree as those of the native writer, through
//! the kernel and by `diff`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use layer::cancel::Cancel;
use microagent::diff::{DiffOptions, DiffSection, diff};
use serde_json::Value;
use support::hostile::hostile_layout;
use support::kernel::Mount;
use support::oracles::{Oracles, compare_trees, e2fsck};
use support::program::{latest, rootfs_build, sample, succeed};
use support::unprivileged::Unprivileged;

/// Returns the path of a program of e2fsprogs.
fn installed(program: &str) -> PathBuf {
    let directories = ["/usr/sbin", "/sbin", "/usr/bin"].map(Path::new);
    let paths = directories.map(|directory| directory.join(program));
    paths.into_iter().find(|path| path.exists()).unwrap()
}

/// Builds an image natively and with mke2fs, as root, and compares the two.
fn check_both_equal(layout: &Path, oracles: &Oracles, arguments: &[&str]) {
    let native = oracles.scratch().join("native.ext4");
    let made = oracles.scratch().join("made.ext4");
    succeed(rootfs_build(&latest(layout), "amd64", &native).args(arguments));
    let mut build = rootfs_build(&latest(layout), "amd64", &made);
    let output = succeed(build.arg("--mke2fs").arg(installed("mke2fs")).args(arguments));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["builder"], "mke2fs");
    assert_eq!(report["size_bytes"], fs::metadata(&native).unwrap().len());
    assert_equal(&native, &made);
}

/// Checks that two images have the same tree, by `diff` and through the kernel.
fn assert_equal(native: &Path, made: &Path) {
    assert_eq!(e2fsck(made), Ok(()));
    diff(
        native,
        made,
        DiffOptions::default(),
        &Cancel::new(),
        &mut |difference| {
            assert_ne!(difference.section, DiffSection::Tree, "{difference:?}");
            Ok(())
        },
    )
    .unwrap();
    let (native, made) = (Mount::read_only(native), Mount::read_only(made));
    assert_eq!(compare_trees(native.path(), made.path()), Ok(()));
    assert_eq!(compare_trees(made.path(), native.path()), Ok(()));
    native.unmount();
    made.unmount();
}

#[test]
fn as_root_the_tree_equals_the_native_one() {
    for arguments in [
        &[][..],
        &["--no-journal", "--block-size", "1024"],
        &[
            "--journal-mib",
            "8",
            "--reserved-percent",
            "3",
            "--inodes",
            "5000",
            "--free-mib",
            "40",
        ],
    ] {
        let Some(oracles) = Oracles::find() else { return };
        check_both_equal(&sample(), &oracles, arguments);
    }
}

#[test]
fn as_root_a_hostile_tree_equals_the_native_one() {
    let Some(oracles) = Oracles::find() else { return };
    check_both_equal(&hostile_layout(oracles.scratch()), &oracles, &[]);
}

#[test]
fn as_another_user_a_hostile_tree_equals_the_native_one() {
    let Some(oracles) = Oracles::find() else { return };
    let user = Unprivileged::new();
    let layout = hostile_layout(user.path());
    let native = oracles.scratch().join("native.ext4");
    succeed(&mut rootfs_build(&latest(&layout), "amd64", &native));
    let mke2fs = installed("mke2fs");
    let mke2fs = mke2fs.to_str().unwrap();
    succeed(&mut user.build(&layout, &["--mke2fs", mke2fs]));
    assert_eq!(fs::read_dir(user.out()).unwrap().count(), 1);
    assert_equal(&native, &user.image());
    let as_root = oracles.scratch().join("root.ext4");
    succeed(rootfs_build(&latest(&layout), "amd64", &as_root).args(["--mke2fs", mke2fs]));
    succeed(Command::new("cmp").arg(&as_root).arg(user.image()));
    let first = oracles.copy(&user.image());
    // Times are stored in seconds. After this pause, an image with a time of the clock would
    // differ.
    std::thread::sleep(Duration::from_millis(1100));
    succeed(&mut user.build(&layout, &["--mke2fs", mke2fs]));
    succeed(Command::new("cmp").arg(&first).arg(user.image()));
}

#[test]
fn a_stage_and_the_provenance_come_from_the_image_that_mke2fs_made() {
    let Some(oracles) = Oracles::find() else { return };
    let image = oracles.scratch().join("image.ext4");
    let mut build = rootfs_build(&latest(&sample()), "amd64", &image);
    build.args(["--keep-stage", "--label", "two \"words\" x"]);
    let output = succeed(build.arg("--mke2fs").arg(installed("mke2fs")));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mount = Mount::read_only(&image);
    assert_eq!(
        compare_trees(mount.path(), Path::new(report["stage_dir"].as_str().unwrap())),
        Ok(())
    );
    mount.unmount();
    let mut inspect = Command::new(env!("CARGO_BIN_EXE_microagent"));
    let output = succeed(inspect.args(["--json", "rootfs", "inspect"]).arg(&image));
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(facts["provenance"]["digest"], report["digest"]);
    assert_eq!(facts["label"], "two \"words\" x");
    for key in ["uuid", "size_bytes", "used_bytes", "inode_count"] {
        assert_eq!(facts[key], report[key], "{key}");
    }
}

/// Makes a directory with the programs of e2fsprogs, and returns the path of its mke2fs. Programs
/// named in `replaced` are shell scripts instead.
fn programs(directory: &Path, replaced: &[(&str, &str)]) -> PathBuf {
    let directory = directory.join("programs");
    fs::create_dir(&directory).unwrap();
    for program in ["mke2fs", "debugfs", "e2fsck"] {
        let path = directory.join(program);
        match replaced.iter().find(|(name, _)| *name == program) {
            Some((_, script)) => {
                fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            None => symlink(installed(program), &path).unwrap(),
        }
    }
    directory.join("mke2fs")
}

#[test]
fn failures_of_e2fsprogs_are_reported() {
    for (replaced, arguments, message, kind) in [
        (&[][..], &["--size-mib", "64"][..], "", ""),
        (
            &[],
            &["--size-mib", "1", "--inodes", "100000"],
            "needs an image",
            "resource_exhausted",
        ),
        (
            &[("mke2fs", "echo no >&2; echo luck >&2; exit 7")],
            &[],
            "exit status: 7: no; luck",
            "permanent",
        ),
        (&[("mke2fs", "kill -9 $$")], &[], "signal: 9", "permanent"),
        (&[("mke2fs", "exit 0")], &[], "not an ext2", "permanent"),
        (
            &[("debugfs", "echo 'debugfs 9.9'; echo 'sif: unknown' >&2")],
            &[],
            "debugfs said: sif: unknown",
            "unsupported",
        ),
        (
            &[("debugfs", "sed -i '/ea_set/d' $3; exec /usr/sbin/debugfs \"$@\"")],
            &[],
            "its extended attributes",
            "unsupported",
        ),
        (
            &[("e2fsck", "echo 'Inode 12 is bad'; exit 4")],
            &[],
            "exit status: 4: Inode 12 is bad",
            "permanent",
        ),
    ] {
        let Some(oracles) = Oracles::find() else { return };
        let out = oracles.scratch().join("out");
        fs::create_dir(&out).unwrap();
        let image = out.join("image.ext4");
        let mut build = rootfs_build(&latest(&sample()), "amd64", &image);
        build.args(["--mode", "ax", "--keep-stage", "--mke2fs"]);
        build.arg(programs(oracles.scratch(), replaced)).args(arguments);
        let output = build.output().unwrap();
        if message.is_empty() {
            assert!(output.status.success(), "{output:?}");
            continue;
        }
        assert_eq!(output.status.code(), Some(1), "{message}");
        let failure: Value = serde_json::from_slice(&output.stderr).unwrap();
        let error = &failure["error"];
        assert!(error["message"].as_str().unwrap().contains(message), "{error}");
        assert_eq!(error["kind"], kind, "{error}");
        let advice = error["remediation"].as_str().unwrap();
        assert!(
            advice.contains("omit --mke2fs") || kind == "resource_exhausted",
            "{error}"
        );
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
    }
}

#[test]
fn a_signal_ends_mke2fs() {
    let Some(oracles) = Oracles::find() else { return };
    let out = oracles.scratch().join("out");
    fs::create_dir(&out).unwrap();
    let pid = oracles.scratch().join("pid");
    let endless = format!("echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000", pid.display());
    let mut build = rootfs_build(&latest(&sample()), "amd64", &out.join("image.ext4"));
    build
        .arg("--keep-stage")
        .arg("--mke2fs")
        .arg(programs(oracles.scratch(), &[("mke2fs", &endless)]));
    let mut child = build.spawn().unwrap();
    while !pid.exists() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the build ended before mke2fs started"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    succeed(Command::new("kill").args(["-TERM", &child.id().to_string()]));
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
    let mke2fs = fs::read_to_string(pid).unwrap();
    assert!(!Path::new("/proc").join(mke2fs.trim()).exists(), "mke2fs still runs");
}
