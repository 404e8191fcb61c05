//! Tests of outputs: the paths that `--out` accepts, permissions, and disks or limits that are
//! full.

use std::fs;
use std::path::Path;
#[cfg(unix)]
use std::process::Command;

use serde_json::Value;

use super::context::{Context, failure, microagent, stderr};
#[cfg(target_os = "linux")]
use super::context::{json, stdout, tar};
use support::single_image::digest;
#[cfg(target_os = "linux")]
use support::skip::skip;

/// Returns the error of a build to a path. The image is missing as well, which the build must not
/// notice first.
fn refused(context: &Context, path: &Path) -> Value {
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
        .current_dir(context.outputs())
        .output()
        .unwrap();
    failure(&output)
}

#[test]
fn a_directory_as_output_is_refused() {
    let context = Context::new();
    for path in [
        context.outputs(),
        context.outputs().join("new/"),
        "..".into(),
        "/".into(),
    ] {
        let error = refused(&context, &path);
        assert_eq!(error["kind"], "conflict", "{error}");
        assert!(error["message"].as_str().unwrap().contains("directory"), "{error}");
    }
    assert!(context.output_names().is_empty());
}

#[test]
fn a_missing_directory_is_reported_before_the_image_is_read() {
    let context = Context::new();
    let error = refused(&context, &context.outputs().join("missing/rootfs.ext4"));
    assert_eq!(error["kind"], "not_found");
    assert!(
        error["message"].as_str().unwrap().contains("missing/rootfs.ext4"),
        "{error}"
    );
    assert!(context.output_names().is_empty());
}

#[cfg(unix)]
#[test]
fn character_devices_and_symlinks_as_output_are_refused() {
    let context = Context::new();
    let file = context.outputs().join("file");
    fs::write(&file, "precious").unwrap();
    let link = context.outputs().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let dangling = context.outputs().join("dangling");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    for (path, file_type) in [(link, "symlink"), (dangling, "symlink"), ("/dev/null".into(), "device")] {
        let error = refused(&context, &path);
        assert_eq!(error["kind"], "conflict", "{error}");
        assert!(error["message"].as_str().unwrap().contains(file_type), "{error}");
        assert_ne!(error["remediation"], Value::Null);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert_eq!(context.output_names(), ["dangling", "file", "link"]);
}

#[test]
fn output_may_be_a_name_in_the_working_directory() {
    let (context, image) = Context::with_image();
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
        .current_dir(context.outputs())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(context.output_names(), ["here.ext4"]);
}

#[test]
fn an_existing_output_is_replaced() {
    let (context, image) = Context::with_image();
    fs::write(context.output(), "old").unwrap();
    let output = context.build(&image).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(fs::metadata(context.output()).unwrap().len(), 1 << 30);
    assert_eq!(context.output_names(), ["rootfs.ext4"]);
}

#[cfg(windows)]
#[test]
fn a_file_that_is_open_elsewhere_is_refused_before_the_image_is_read() {
    use std::os::windows::fs::OpenOptionsExt;
    const FILE_SHARE_READ: u32 = 1;
    let context = Context::new();
    fs::write(context.output(), "precious").unwrap();
    let mut options = fs::File::options();
    let open = options.read(true).share_mode(FILE_SHARE_READ).open(context.output());
    let error = refused(&context, &context.output());
    assert_eq!(error["kind"], "transient", "{error}");
    assert!(error["message"].as_str().unwrap().contains("rootfs.ext4"), "{error}");
    assert!(error["remediation"].as_str().unwrap().contains("close"), "{error}");
    drop(open.unwrap());
    assert_eq!(context.output_names(), ["rootfs.ext4"]);
    assert_eq!(fs::read_to_string(context.output()).unwrap(), "precious");
}

#[cfg(unix)]
#[test]
fn permissions_of_the_output_follow_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let (context, image) = Context::with_image();
    let build = context.build(&image);
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
        fs::metadata(context.output()).unwrap().permissions().mode() & 0o7777,
        0o640
    );
}

#[cfg(unix)]
#[test]
fn a_build_beyond_the_file_size_limit_leaves_no_file() {
    let (context, image) = Context::with_image();
    let mut build = context.build(&image);
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
    assert!(context.output_names().is_empty());
}

/// Low limits of `ulimit -n`: most of them make the build fail at one of its steps.
#[cfg(unix)]
#[test]
fn too_few_descriptors_leave_nothing() {
    let (context, image) = Context::with_image();
    let mut build = context.build(&image);
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
            assert_eq!(context.output_names(), ["rootfs.ext4"], "{limit}");
            fs::remove_file(context.output()).unwrap();
        } else {
            let error = failure(&output);
            assert!(
                error["message"].as_str().unwrap().contains("open files"),
                "{limit}: {error}"
            );
            assert!(
                context.output_names().is_empty(),
                "{limit}: {:?}",
                context.output_names()
            );
            failed += 1;
        }
    }
    assert!(failed > 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing() {
    let context = Context::new();
    let data: Vec<u8> = (0..4_u32 << 20)
        .map(|byte| byte.to_le_bytes()[byte as usize % 3] | 1)
        .collect();
    let layer = context.layout.gzip_layer(&tar(&[("data", &data)]));
    let image = context.layout.pinned(&context.layout.image(&[layer]));
    let mut build = context.build(&image);
    build.args(["--mode", "ax"]);
    let script = "mount -t tmpfs -o size=1m none \"$0\" && echo precious > \"$0/old\" && { \"$@\"; status=$?; } && \
                  ls -A \"$0\" && exit $status";
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script])
        .arg(context.outputs())
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
