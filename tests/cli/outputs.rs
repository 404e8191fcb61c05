//! Where an image can be written to, and where not.

use std::fs;
use std::path::Path;
#[cfg(unix)]
use std::process::Command;

use serde_json::Value;

use super::scene::{Scene, failure, microagent, stderr};
#[cfg(target_os = "linux")]
use super::scene::{json, stdout, tar};
use support::single_image::digest;
#[cfg(target_os = "linux")]
use support::skip::skip;

/// Fails to build to a path, and says why; the image isn't there either, but that must not be noticed first.
fn refused(scene: &Scene, path: &Path) -> Value {
    let output = microagent()
        .args([
            "rootfs",
            "build",
            "--mode=ax",
            "--image",
            &format!("oci:/nowhere@{}", digest(b"")),
            "--out",
        ])
        .arg(path)
        .current_dir(scene.outputs())
        .output()
        .unwrap();
    failure(&output)
}

#[test]
fn a_directory_is_no_output() {
    let scene = Scene::new();
    for path in [scene.outputs(), scene.outputs().join("new/"), "..".into(), "/".into()] {
        let error = refused(&scene, &path);
        assert_eq!(error["kind"], "conflict", "{error}");
        assert!(error["message"].as_str().unwrap().contains("directory"), "{error}");
    }
    assert!(scene.left().is_empty());
}

#[test]
fn a_missing_directory_is_not_found_before_the_image_is_read() {
    let scene = Scene::new();
    let error = refused(&scene, &scene.outputs().join("missing/rootfs.ext4"));
    assert_eq!(error["kind"], "not_found");
    assert!(
        error["message"].as_str().unwrap().contains("missing/rootfs.ext4"),
        "{error}"
    );
    assert!(scene.left().is_empty());
}

#[cfg(unix)]
#[test]
fn devices_and_symlinks_are_no_outputs() {
    let scene = Scene::new();
    let file = scene.outputs().join("file");
    fs::write(&file, "precious").unwrap();
    let link = scene.outputs().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let dangling = scene.outputs().join("dangling");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    for (path, what) in [(link, "symlink"), (dangling, "symlink"), ("/dev/null".into(), "device")] {
        let error = refused(&scene, &path);
        assert_eq!(error["kind"], "conflict", "{error}");
        assert!(error["message"].as_str().unwrap().contains(what), "{error}");
        assert_ne!(error["remediation"], Value::Null);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert_eq!(scene.left(), ["dangling", "file", "link"]);
}

#[test]
fn a_name_in_the_working_directory_is_enough() {
    let (scene, image) = Scene::with_image();
    let output = microagent()
        .args([
            "rootfs",
            "build",
            "--arch=amd64",
            "--image",
            &image,
            "--out",
            "here.ext4",
        ])
        .current_dir(scene.outputs())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(scene.left(), ["here.ext4"]);
}

#[test]
fn an_existing_file_is_replaced() {
    let (scene, image) = Scene::with_image();
    fs::write(scene.output(), "old").unwrap();
    let output = scene.build(&image).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(fs::metadata(scene.output()).unwrap().len(), 1 << 30);
    assert_eq!(scene.left(), ["rootfs.ext4"]);
}

#[cfg(windows)]
#[test]
fn a_file_that_is_open_elsewhere_is_refused_before_the_image_is_read() {
    use std::os::windows::fs::OpenOptionsExt;
    const FILE_SHARE_READ: u32 = 1;
    let scene = Scene::new();
    fs::write(scene.output(), "precious").unwrap();
    let mut options = fs::File::options();
    let open = options.read(true).share_mode(FILE_SHARE_READ).open(scene.output());
    let error = refused(&scene, &scene.output());
    assert_eq!(error["kind"], "transient", "{error}");
    assert!(error["message"].as_str().unwrap().contains("rootfs.ext4"), "{error}");
    assert!(error["remediation"].as_str().unwrap().contains("close"), "{error}");
    drop(open.unwrap());
    assert_eq!(scene.left(), ["rootfs.ext4"]);
    assert_eq!(fs::read_to_string(scene.output()).unwrap(), "precious");
}

#[cfg(unix)]
#[test]
fn permissions_are_those_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let (scene, image) = Scene::with_image();
    let build = scene.build(&image);
    let arguments: Vec<_> = build.get_args().collect();
    let status = Command::new("sh")
        .args(["-c", "umask 027 && exec \"$@\"", "sh"])
        .arg(build.get_program())
        .args(arguments)
        .output()
        .unwrap()
        .status;
    assert_eq!(status.code(), Some(0));
    assert_eq!(
        fs::metadata(scene.output()).unwrap().permissions().mode() & 0o7777,
        0o640
    );
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_grow_leaves_nothing() {
    let (scene, image) = Scene::with_image();
    let mut build = scene.build(&image);
    build.args(["--mode", "ax"]);
    let arguments: Vec<_> = build.get_args().collect();
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 64 && exec \"$@\"", "sh"])
        .arg(build.get_program())
        .args(arguments)
        .output()
        .unwrap();
    let error = failure(&output);
    assert_eq!(error["kind"], "resource_exhausted", "{error}");
    assert!(scene.left().is_empty());
}

/// As under `ulimit -n`; with most of these limits, the build fails somewhere.
#[cfg(unix)]
#[test]
fn too_few_descriptors_leave_nothing() {
    let (scene, image) = Scene::with_image();
    let mut build = scene.build(&image);
    build.args(["--mode", "ax", "--size-mib", "16"]);
    let mut failed = 0;
    for limit in 5..24 {
        let output = Command::new("sh")
            .args(["-c", &format!("ulimit -n {limit} && exec \"$@\""), "sh"])
            .arg(build.get_program())
            .args(build.get_args())
            .output()
            .unwrap();
        if output.status.success() {
            assert_eq!(scene.left(), ["rootfs.ext4"], "{limit}");
            fs::remove_file(scene.output()).unwrap();
        } else {
            let error = failure(&output);
            assert!(
                error["message"].as_str().unwrap().contains("open files"),
                "{limit}: {error}"
            );
            assert!(scene.left().is_empty(), "{limit}: {:?}", scene.left());
            failed += 1;
        }
    }
    assert!(failed > 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing() {
    let scene = Scene::new();
    let content: Vec<u8> = (0..4_u32 << 20)
        .map(|byte| byte.to_le_bytes()[byte as usize % 3] | 1)
        .collect();
    let layer = scene.layout.gzip_layer(&tar(&[("data", &content)]));
    let image = scene.layout.pinned(&scene.layout.image(&[layer]));
    let mut build = scene.build(&image);
    build.args(["--mode", "ax"]);
    let script = "mount -t tmpfs -o size=1m none \"$0\" && echo precious > \"$0/old\" && { \"$@\"; status=$?; } && \
                  ls -A \"$0\" && exit $status";
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script])
        .arg(scene.outputs())
        .arg(build.get_program())
        .args(build.get_args())
        .output();
    let Ok(output) = output else {
        return skip("unshare is missing");
    };
    if !stdout(&output).contains("old") {
        return skip(&format!("this user cannot mount a tmpfs: {}", stderr(&output)));
    }
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "old\n");
    let error = &json(stderr(&output))["error"];
    assert_eq!(error["kind"], "resource_exhausted", "{error}");
}
