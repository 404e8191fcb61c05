//! Tests of `--keep-stage`, `--stage-snapshot` and `--mke2fs` for a user without root.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::context::{Context, failure, json, microagent, names, stderr, stdout};
use support::single_image::digest;
use support::tar::{Entry, archive};

/// Returns a context with an image of these entries, and a reference to it.
fn build_entries(entries: &[Entry]) -> (Context, String) {
    let context = Context::new();
    let layer = context.layout.gzip_layer(&archive(entries));
    let image = context.layout.pinned(&context.layout.image(&[layer]));
    (context, image)
}

fn report(context: &Context, image: &str, arguments: &[&str]) -> Value {
    let mut build = context.build(image);
    let output = build
        .args(["--json", "--size-mib", "16", "--init", "none"])
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    json(stdout(&output))
}

/// Returns the error of a build. The image is missing as well, which the build must not notice
/// first.
fn refused(context: &Context, arguments: &[&str]) -> Value {
    let mut build = microagent();
    build.args(["rootfs", "build", "--mode=ax", "--image"]);
    build
        .arg(format!("oci:/nowhere@{}", digest(b"")))
        .arg("--out")
        .arg(context.output());
    failure(&build.args(arguments).output().unwrap())
}

#[test]
fn stage_and_snapshot_have_the_tree_and_its_description() {
    let (context, image) = build_entries(&[
        Entry::file("etc/motd", "welcome\n"),
        Entry::hard_link("etc/issue", "etc/motd"),
    ]);
    let elsewhere = context.root.path().join("elsewhere");
    let report = report(
        &context,
        &image,
        &["--keep-stage", "--stage-snapshot", elsewhere.to_str().unwrap()],
    );
    let beside = context.outputs().join("rootfs.ext4.stage");
    assert_eq!(report["stage_dir"], beside.to_str().unwrap());
    assert_eq!(report["stage_snapshot"], elsewhere.to_str().unwrap());
    assert_eq!(
        context.output_names(),
        ["rootfs.ext4", "rootfs.ext4.stage", "rootfs.ext4.stage.mtree"]
    );
    for stage in [&beside, &elsewhere] {
        assert_eq!(names(stage), ["etc", "lost+found"]);
        assert_eq!(fs::read(stage.join("etc/motd")).unwrap(), b"welcome\n");
        fs::write(stage.join("etc/motd"), "changed\n").unwrap();
        assert_eq!(
            fs::read(stage.join("etc/issue")).unwrap(),
            b"changed\n",
            "hard links are kept"
        );
    }
    let description = |path: &Path| fs::read_to_string(format!("{}.mtree", path.display())).unwrap();
    assert_eq!(description(&beside), description(&elsewhere));
    let motd = description(&beside);
    let motd = motd.lines().find(|line| line.starts_with("./etc/motd ")).unwrap();
    let start = "./etc/motd type=file mode=0644 uid=0 gid=0 nlink=2 size=8 time=1.000000000 ";
    assert!(motd.starts_with(start), "{motd}");
    assert!(
        motd.contains(&digest(b"welcome\n").replace("sha256:", "sha256digest=")),
        "{motd}"
    );
}

#[test]
fn an_existing_stage_is_never_replaced() {
    for taken in ["rootfs.ext4.stage", "rootfs.ext4.stage.mtree"] {
        let context = Context::new();
        fs::write(context.outputs().join(taken), "precious").unwrap();
        let error = refused(&context, &["--keep-stage"]);
        assert_eq!(error["kind"], "conflict", "{error}");
        assert!(error["message"].as_str().unwrap().contains(taken), "{error}");
        assert!(error["remediation"].as_str().unwrap().contains("remove"), "{error}");
        assert_eq!(context.output_names(), [taken]);
    }
    let context = Context::new();
    for path in ["/", "..", context.outputs().to_str().unwrap()] {
        assert_eq!(
            refused(&context, &["--stage-snapshot", path])["kind"],
            "conflict",
            "{path}"
        );
    }
    let missing = context.outputs().join("missing/stage");
    let error = refused(&context, &["--stage-snapshot", missing.to_str().unwrap()]);
    assert_eq!(error["kind"], "not_found", "{error}");
    assert!(context.output_names().is_empty());
}

#[test]
fn a_build_that_fails_leaves_no_stage() {
    let (context, image) = build_entries(&[Entry::file("large", vec![b'x'; 3 << 20])]);
    let mut build = context.build(&image);
    build.args(["--mode", "ax", "--keep-stage", "--init", "none", "--size-mib", "2"]);
    assert_eq!(failure(&build.output().unwrap())["kind"], "resource_exhausted");
    assert!(context.output_names().is_empty());

    // The stage is published before the output, which fails: its path is taken by the stage.
    let mut build = context.build(&image);
    build.args(["--mode", "ax", "--size-mib", "16", "--init", "none", "--stage-snapshot"]);
    failure(&build.arg(context.output()).output().unwrap());
    assert!(context.output_names().is_empty());
}

#[cfg(windows)]
#[test]
fn names_invalid_on_windows_are_in_the_disk_and_an_error_in_a_stage() {
    for (names, words) in [
        (["etc/motd", "etc/MOTD"], ["/etc/motd", "/etc/MOTD"]),
        (["etc/motd", "a:b"], ["/a:b", "not a valid file name"]),
        (["etc/motd", "con.txt"], ["/con.txt", "not a valid file name"]),
        (["etc/motd", "a\\b"], ["a\\\\b", "not a valid file name"]),
        (["etc/motd", "dot."], ["/dot.", "not a valid file name"]),
    ] {
        let (context, image) = build_entries(&names.map(|name| Entry::file(name, name)));
        report(&context, &image, &[]);
        for name in names {
            let output = microagent()
                .args(["rootfs", "inspect"])
                .arg(context.output())
                .args(["cat", &format!("/{name}")])
                .output()
                .unwrap();
            assert_eq!(stdout(&output), name, "{}", stderr(&output));
        }
        let mut build = context.build(&image);
        let error = failure(&build.args(["--mode", "ax", "--keep-stage"]).output().unwrap());
        assert_eq!(error["kind"], "unsupported", "{error}");
        for word in words {
            assert!(error["message"].as_str().unwrap().contains(word), "{word}: {error}");
        }
        assert!(error["remediation"].is_string(), "{error}");
        assert_eq!(context.output_names(), ["rootfs.ext4"]);
    }
}

#[cfg(unix)]
#[test]
fn symlinks_of_the_image_do_not_lead_out_of_a_stage() {
    use std::os::unix::fs::MetadataExt as _;
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "precious").unwrap();
    let before = fs::metadata(outside.path().join("file")).unwrap();
    let target = outside.path().to_str().unwrap();
    let (context, image) = build_entries(&[
        Entry::symlink("a", target),
        Entry::symlink("b", format!("{target}/file")),
        Entry::hard_link("c", "b"),
        Entry::symlink("d", "../../../../../../../../../../tmp"),
        // This entry stays in the image: layers resolve symlinks inside the root.
        Entry::file("a/new", "new"),
    ]);
    report(&context, &image, &["--keep-stage"]);
    let stage = context.outputs().join("rootfs.ext4.stage");
    assert_eq!(fs::read_link(stage.join("a")).unwrap(), outside.path());
    assert_eq!(fs::read_link(stage.join("c")).unwrap(), outside.path().join("file"));
    assert_eq!(
        fs::read(stage.join(target.trim_start_matches('/')).join("new")).unwrap(),
        b"new"
    );
    assert_eq!(names(outside.path()), ["file"]);
    let after = fs::metadata(outside.path().join("file")).unwrap();
    assert_eq!(
        (after.mode(), after.mtime(), after.nlink()),
        (before.mode(), before.mtime(), 1)
    );
}

#[cfg(unix)]
#[test]
fn a_missing_mke2fs_is_reported_before_the_image_is_read() {
    let context = Context::new();
    let error = refused(&context, &["--mke2fs", "/nowhere/mke2fs"]);
    assert_eq!(error["kind"], "not_found", "{error}");
    assert!(
        error["message"].as_str().unwrap().contains("/nowhere/mke2fs"),
        "{error}"
    );
    assert!(
        error["remediation"].as_str().unwrap().contains("omit --mke2fs"),
        "{error}"
    );
    let directory = context.root.path().to_str().unwrap();
    assert_eq!(refused(&context, &["--mke2fs", directory])["kind"], "permanent");
    assert!(context.output_names().is_empty());
}

#[cfg(not(unix))]
#[test]
fn mke2fs_is_unsupported_without_unix() {
    let context = Context::new();
    let error = refused(&context, &["--mke2fs", "mke2fs.exe"]);
    assert_eq!(error["kind"], "unsupported", "{error}");
}

#[test]
fn mke2fs_with_inline_data_is_wrong_usage() {
    let (context, image) = Context::with_image();
    let mut build = context.build(&image);
    let output = build.args(["--mke2fs", "mke2fs", "--inline-data"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--inline-data"), "{}", stderr(&output));
}
