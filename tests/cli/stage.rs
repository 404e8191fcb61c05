//! Stages, and an mke2fs that is not there, as any user meets them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::scene::{Scene, failure, json, microagent, names, stderr, stdout};
use support::single_image::digest;
use support::tar::{Entry, archive};

/// A scene with an image of these entries, and a reference to it.
fn scene_of(entries: &[Entry]) -> (Scene, String) {
    let scene = Scene::new();
    let layer = scene.layout.gzip_layer(&archive(entries));
    let image = scene.layout.pinned(&scene.layout.image(&[layer]));
    (scene, image)
}

fn report(scene: &Scene, image: &str, arguments: &[&str]) -> Value {
    let mut build = scene.build(image);
    let output = build
        .args(["--json", "--size-mib", "16", "--init", "none"])
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    json(stdout(&output))
}

/// Fails to build an image that isn't there, which must not be noticed first.
fn refused(scene: &Scene, arguments: &[&str]) -> Value {
    let mut build = microagent();
    build.args(["rootfs", "build", "--mode=ax", "--image"]);
    build
        .arg(format!("oci:/nowhere@{}", digest(b"")))
        .arg("--out")
        .arg(scene.output());
    failure(&build.args(arguments).output().unwrap())
}

#[test]
fn a_stage_is_beside_the_output_and_where_the_user_says() {
    let (scene, image) = scene_of(&[
        Entry::file("etc/motd", "welcome\n"),
        Entry::hard_link("etc/issue", "etc/motd"),
    ]);
    let elsewhere = scene.root.path().join("elsewhere");
    let report = report(
        &scene,
        &image,
        &["--keep-stage", "--stage-snapshot", elsewhere.to_str().unwrap()],
    );
    let beside = scene.outputs().join("rootfs.ext4.stage");
    assert_eq!(report["stage_dir"], beside.to_str().unwrap());
    assert_eq!(report["stage_snapshot"], elsewhere.to_str().unwrap());
    assert_eq!(
        scene.left(),
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
fn what_exists_is_never_replaced() {
    for taken in ["rootfs.ext4.stage", "rootfs.ext4.stage.mtree"] {
        let scene = Scene::new();
        fs::write(scene.outputs().join(taken), "precious").unwrap();
        let error = refused(&scene, &["--keep-stage"]);
        assert_eq!(error["kind"], "conflict", "{error}");
        assert!(error["message"].as_str().unwrap().contains(taken), "{error}");
        assert!(error["remediation"].as_str().unwrap().contains("remove"), "{error}");
        assert_eq!(scene.left(), [taken]);
    }
    let scene = Scene::new();
    for path in ["/", "..", scene.outputs().to_str().unwrap()] {
        assert_eq!(
            refused(&scene, &["--stage-snapshot", path])["kind"],
            "conflict",
            "{path}"
        );
    }
    let missing = scene.outputs().join("missing/stage");
    let error = refused(&scene, &["--stage-snapshot", missing.to_str().unwrap()]);
    assert_eq!(error["kind"], "not_found", "{error}");
    assert!(scene.left().is_empty());
}

#[test]
fn a_build_that_fails_leaves_no_stage() {
    let (scene, image) = scene_of(&[Entry::file("large", vec![b'x'; 3 << 20])]);
    let mut build = scene.build(&image);
    build.args(["--mode", "ax", "--keep-stage", "--init", "none", "--size-mib", "2"]);
    assert_eq!(failure(&build.output().unwrap())["kind"], "resource_exhausted");
    assert!(scene.left().is_empty());

    // The stage has its name when the output turns out to have no place.
    let mut build = scene.build(&image);
    build.args(["--mode", "ax", "--size-mib", "16", "--init", "none", "--stage-snapshot"]);
    failure(&build.arg(scene.output()).output().unwrap());
    assert!(scene.left().is_empty());
}

#[cfg(windows)]
#[test]
fn names_that_windows_has_not_are_in_the_disk_and_an_error_in_a_stage() {
    for (names, words) in [
        (["etc/motd", "etc/MOTD"], ["/etc/motd", "/etc/MOTD"]),
        (["etc/motd", "a:b"], ["/a:b", "no name"]),
        (["etc/motd", "con.txt"], ["/con.txt", "no name"]),
        (["etc/motd", "a\\b"], ["a\\\\b", "no name"]),
        (["etc/motd", "dot."], ["/dot.", "no name"]),
    ] {
        let (scene, image) = scene_of(&names.map(|name| Entry::file(name, name)));
        report(&scene, &image, &[]);
        for name in names {
            let output = microagent()
                .args(["rootfs", "inspect"])
                .arg(scene.output())
                .args(["cat", &format!("/{name}")])
                .output()
                .unwrap();
            assert_eq!(stdout(&output), name, "{}", stderr(&output));
        }
        let mut build = scene.build(&image);
        let error = failure(&build.args(["--mode", "ax", "--keep-stage"]).output().unwrap());
        assert_eq!(error["kind"], "unsupported", "{error}");
        for word in words {
            assert!(error["message"].as_str().unwrap().contains(word), "{word}: {error}");
        }
        assert!(error["remediation"].is_string(), "{error}");
        assert_eq!(scene.left(), ["rootfs.ext4"]);
    }
}

#[cfg(unix)]
#[test]
fn no_symlink_of_the_image_leads_out_of_a_stage() {
    use std::os::unix::fs::MetadataExt as _;
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "precious").unwrap();
    let before = fs::metadata(outside.path().join("file")).unwrap();
    let target = outside.path().to_str().unwrap();
    let (scene, image) = scene_of(&[
        Entry::symlink("a", target),
        Entry::symlink("b", format!("{target}/file")),
        Entry::hard_link("c", "b"),
        Entry::symlink("d", "../../../../../../../../../../tmp"),
        // These stay in the image, where the symlink leads: the layer's own rules see to it.
        Entry::file("a/new", "new"),
    ]);
    report(&scene, &image, &["--keep-stage"]);
    let stage = scene.outputs().join("rootfs.ext4.stage");
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
fn a_missing_mke2fs_is_not_found_before_the_image_is_read() {
    let scene = Scene::new();
    let error = refused(&scene, &["--mke2fs", "/nowhere/mke2fs"]);
    assert_eq!(error["kind"], "not_found", "{error}");
    assert!(
        error["message"].as_str().unwrap().contains("/nowhere/mke2fs"),
        "{error}"
    );
    assert!(
        error["remediation"].as_str().unwrap().contains("leave --mke2fs away"),
        "{error}"
    );
    let directory = scene.root.path().to_str().unwrap();
    assert_eq!(refused(&scene, &["--mke2fs", directory])["kind"], "permanent");
    assert!(scene.left().is_empty());
}

#[cfg(not(unix))]
#[test]
fn mke2fs_is_refused_by_name() {
    let scene = Scene::new();
    let error = refused(&scene, &["--mke2fs", "mke2fs.exe"]);
    assert_eq!(error["kind"], "unsupported", "{error}");
}

#[test]
fn mke2fs_does_not_go_with_inline_data() {
    let (scene, image) = Scene::with_image();
    let mut build = scene.build(&image);
    let output = build.args(["--mke2fs", "mke2fs", "--inline-data"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--inline-data"), "{}", stderr(&output));
}
