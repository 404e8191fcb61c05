//! Tests of builds that fail: the message, the kind, the hint, and that no file is left.

use std::fs;

use serde_json::Value;

use super::context::{Context, failure, microagent, stderr, stdout, tar};
use support::single_image::{Layer, Layout, digest, gzip};

#[test]
fn text_failure_has_causes_and_a_hint() {
    let context = Context::new();
    let output = context.build("oci:missing:latest").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    let lines: Vec<_> = stderr(&output).lines().collect();
    assert!(
        lines[0].starts_with("error: ") && lines[0].contains("oci:missing:latest"),
        "{lines:?}"
    );
    assert!(lines.last().unwrap().starts_with("hint: ") && lines.last().unwrap().contains("--allow-mutable"));
}

#[test]
fn ax_failure_is_one_json_object() {
    let (context, _) = Context::with_image();
    let run = || {
        context
            .build(&context.layout.tagged())
            .args(["--mode", "ax"])
            .output()
            .unwrap()
    };
    let error = failure(&run());
    let mut keys: Vec<_> = error.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "correlation_id",
            "kind",
            "message",
            "partial_output",
            "remediation",
            "retry_after_ms"
        ]
    );
    assert_eq!(error["partial_output"], false);
    assert_eq!(error["retry_after_ms"], Value::Null);
    assert_eq!(error["correlation_id"].as_str().unwrap().len(), 16);
    assert_eq!(
        error,
        failure(&run()),
        "the same command repeats the error, its correlation ID included"
    );

    let other = context
        .build(&context.layout.tagged())
        .args(["--mode=ax"])
        .output()
        .unwrap();
    assert_ne!(error["correlation_id"], failure(&other)["correlation_id"]);
}

#[test]
fn a_tag_is_refused_with_the_digest_to_pin() {
    let (context, image) = Context::with_image();
    let error = failure(
        &context
            .build(&context.layout.tagged())
            .args(["--mode", "ax"])
            .output()
            .unwrap(),
    );
    assert_eq!(error["kind"], "policy_denied");
    let remediation = error["remediation"].as_str().unwrap();
    assert!(
        remediation.contains("--allow-mutable") && remediation.contains(&image),
        "{remediation}"
    );
    assert!(context.output_names().is_empty());
}

#[test]
fn missing_image_is_not_found() {
    let (context, _) = Context::with_image();
    for reference in [
        format!("oci:/nowhere@{}", digest(b"")),
        context.layout.pinned(&digest(b"another")),
    ] {
        let error = failure(&context.build(&reference).args(["--mode", "ax"]).output().unwrap());
        assert_eq!(error["kind"], "not_found", "{error}");
    }
    let other = context.layout.tagged().replace(":latest", ":other");
    let output = context
        .build(&other)
        .args(["--mode", "ax", "--allow-mutable"])
        .output()
        .unwrap();
    assert_eq!(failure(&output)["kind"], "not_found");
    assert!(context.output_names().is_empty());
}

#[test]
fn missing_platform_is_not_found() {
    let (context, image) = Context::with_image();
    let output = microagent()
        .args([
            "rootfs",
            "build",
            "--mode=ax",
            "--arch=s390x",
            "--image",
            &image,
            "--out",
        ])
        .arg(context.output())
        .output()
        .unwrap();
    let error = failure(&output);
    assert_eq!(error["kind"], "not_found", "{error}");
    assert!(error["message"].as_str().unwrap().contains("linux/s390x"), "{error}");
}

/// Adds a damaged layer to a layout, and returns it with the kind of the error.
type Damage = fn(&Layout) -> (Layer, &'static str);

#[test]
fn a_damaged_image_leaves_nothing() {
    fn tar_of_a_file() -> Vec<u8> {
        tar(&[("data", &vec![7; 100_000])])
    }
    fn write(layout: &Layout, layer: &Layer, blob: &[u8]) {
        fs::write(layout.blob_path(layer), blob).unwrap();
    }
    let table: &[(&str, Damage)] = &[
        ("the blob is missing", |layout| {
            let layer = layout.gzip_layer(&tar_of_a_file());
            fs::remove_file(layout.blob_path(&layer)).unwrap();
            (layer, "not_found")
        }),
        ("the blob is cut off", |layout| {
            let layer = layout.gzip_layer(&tar_of_a_file());
            let blob = fs::read(layout.blob_path(&layer)).unwrap();
            write(layout, &layer, &blob[..blob.len() / 2]);
            (layer, "permanent")
        }),
        ("the blob is empty", |layout| {
            let layer = layout.gzip_layer(&tar_of_a_file());
            write(layout, &layer, b"");
            (layer, "permanent")
        }),
        ("one bit of the blob is wrong", |layout| {
            let layer = layout.gzip_layer(&tar_of_a_file());
            let mut blob = fs::read(layout.blob_path(&layer)).unwrap();
            *blob.last_mut().unwrap() ^= 1;
            write(layout, &layer, &blob);
            (layer, "permanent")
        }),
        ("the blob has trailing data", |layout| {
            let layer = layout.gzip_layer(&tar_of_a_file());
            let blob = fs::read(layout.blob_path(&layer)).unwrap();
            write(layout, &layer, &[blob, gzip(b"")].concat());
            (layer, "permanent")
        }),
        ("the blob is that of another layer", |layout| {
            let layer = layout.gzip_layer(&tar_of_a_file());
            write(layout, &layer, &gzip(&tar(&[("other", b"")])));
            (layer, "permanent")
        }),
        ("the content does not match the diff ID of the config", |layout| {
            let layer = Layer {
                diff_id: digest(b"another"),
                ..layout.gzip_layer(&tar_of_a_file())
            };
            (layer, "permanent")
        }),
        ("the gzip stream is corrupt, and the digest matches it", |layout| {
            let tar = tar_of_a_file();
            let mut blob = gzip(&tar);
            *blob.last_mut().unwrap() ^= 1;
            (layout.layer(&blob, digest(&tar)), "permanent")
        }),
        ("the gzip stream is cut off, and the digest matches it", |layout| {
            let tar = tar_of_a_file();
            let blob = gzip(&tar);
            (layout.layer(&blob[..blob.len() / 2], digest(&tar)), "permanent")
        }),
        ("the tar is cut off, and the digest matches it", |layout| {
            let tar = tar_of_a_file();
            (layout.gzip_layer(&tar[..10_000]), "permanent")
        }),
        ("the layer is an HTML page", |layout| {
            (layout.gzip_layer(b"<html>404 not found</html>"), "permanent")
        }),
    ];
    for (case, damage) in table {
        let context = Context::new();
        let good = context.layout.gzip_layer(&tar(&[("etc/motd", b"welcome\n")]));
        let (bad, kind) = damage(&context.layout);
        let image = context.layout.pinned(&context.layout.image(&[good, bad]));
        let run = || failure(&context.build(&image).args(["--mode", "ax"]).output().unwrap());

        let error = run();
        assert_eq!(error["kind"], *kind, "{case}: {error}");
        assert!(
            context.output_names().is_empty(),
            "{case}: {:?}",
            context.output_names()
        );

        fs::write(context.output(), "precious").unwrap();
        run();
        assert_eq!(fs::read_to_string(context.output()).unwrap(), "precious", "{case}");
        assert_eq!(context.output_names(), ["rootfs.ext4"], "{case}");
    }
}

#[test]
fn a_damaged_blob_is_named_with_both_digests() {
    let context = Context::new();
    let layer = context.layout.gzip_layer(&tar(&[("data", &vec![7; 100_000])]));
    let blob = context.layout.blob_path(&layer);
    let named = layer.descriptor["digest"].as_str().unwrap().to_owned();
    let image = context.layout.pinned(&context.layout.image(&[layer]));
    let mut damaged = fs::read(&blob).unwrap();
    damaged[5..].reverse();
    fs::write(&blob, &damaged).unwrap();

    let error = failure(&context.build(&image).args(["--mode", "ax"]).output().unwrap());
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains(&named) && message.contains(&digest(&damaged)),
        "{message}"
    );
}

#[test]
fn an_encrypted_layer_is_unsupported() {
    let context = Context::new();
    let media_type = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    let layer = context.layout.layer_of(media_type, b"secret", digest(b"content"));
    let image = context.layout.pinned(&context.layout.image(&[layer]));
    let error = failure(&context.build(&image).args(["--mode", "ax"]).output().unwrap());
    assert_eq!(error["kind"], "unsupported");
    let text = |field: &str| error[field].as_str().unwrap().to_owned();
    assert!(
        text("message").contains(media_type) && text("remediation").contains("decrypt"),
        "{error}"
    );
}

#[test]
fn an_image_that_does_not_fit_names_the_size_it_needs() {
    let context = Context::new();
    let data: Vec<u8> = (0..8 << 20)
        .map(|byte: u32| byte.to_le_bytes()[byte as usize % 3] | 1)
        .collect();
    let layer = context.layout.gzip_layer(&tar(&[("data", &data)]));
    let image = context.layout.pinned(&context.layout.image(&[layer]));
    let output = context
        .build(&image)
        .args(["--mode", "ax", "--size-mib", "4"])
        .output()
        .unwrap();
    let error = failure(&output);
    assert_eq!(error["kind"], "resource_exhausted", "{error}");
    assert!(context.output_names().is_empty());

    let remediation = error["remediation"].as_str().unwrap();
    let needed = remediation
        .split_whitespace()
        .skip_while(|&word| word != "--size-mib")
        .nth(1)
        .unwrap();
    let output = context
        .build(&image)
        .args(["--json", "--size-mib", needed])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn untrusted_text_is_escaped_and_shortened_in_messages() {
    let context = Context::new();
    let path = context.root.path().join("saved.tar");
    for (config, shown) in [
        ("\u{1b}[2J\u{202e}\u{9b}x".to_owned(), "\\u{1b}[2J\\u{202e}\\u{9b}x"),
        ("x".repeat(400_000), "xxxx…"),
    ] {
        let manifest = serde_json::json!([{"Config": config, "Layers": []}]).to_string();
        fs::write(&path, tar(&[("manifest.json", manifest.as_bytes())])).unwrap();
        let reference = format!("docker-archive:{}", path.display());
        for mode in ["ux", "ax"] {
            let mut command = context.build(&reference);
            let output = command.args(["--allow-mutable", "--mode", mode]).output().unwrap();
            let message = stderr(&output);
            let shown = if mode == "ax" {
                shown.replace('\\', "\\\\")
            } else {
                shown.to_owned()
            };
            assert!(message.contains(&shown), "{message}");
            assert!(
                message.len() < 5000 && !message.contains(['\u{1b}', '\u{202e}', '\u{9b}']),
                "{message:?}"
            );
        }
    }
}
