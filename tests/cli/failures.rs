//! What is said when a build fails; and nothing is left.

use std::fs;

use serde_json::Value;

use super::scene::{Scene, failure, microagent, stderr, stdout, tar};
use support::single_image::{Layer, Layout, digest, gzip};

#[test]
fn people_read_the_causes_and_what_to_do() {
    let scene = Scene::new();
    let output = scene.build("oci:missing:latest").output().unwrap();
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
fn programs_read_one_object() {
    let (scene, _) = Scene::with_image();
    let run = || {
        scene
            .build(&scene.layout.tagged())
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
    assert_eq!(error, failure(&run()), "the same command fails in the same words");

    let other = scene
        .build(&scene.layout.tagged())
        .args(["--mode=ax"])
        .output()
        .unwrap();
    assert_ne!(error["correlation_id"], failure(&other)["correlation_id"]);
}

#[test]
fn a_tag_is_refused_with_the_digest_to_pin() {
    let (scene, image) = Scene::with_image();
    let error = failure(
        &scene
            .build(&scene.layout.tagged())
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
    assert!(scene.left().is_empty());
}

#[test]
fn an_image_that_is_not_there_is_not_found() {
    let (scene, _) = Scene::with_image();
    for reference in [
        format!("oci:/nowhere@{}", digest(b"")),
        scene.layout.pinned(&digest(b"another")),
    ] {
        let error = failure(&scene.build(&reference).args(["--mode", "ax"]).output().unwrap());
        assert_eq!(error["kind"], "not_found", "{error}");
    }
    let other = scene.layout.tagged().replace(":latest", ":other");
    let output = scene
        .build(&other)
        .args(["--mode", "ax", "--allow-mutable"])
        .output()
        .unwrap();
    assert_eq!(failure(&output)["kind"], "not_found");
    assert!(scene.left().is_empty());
}

#[test]
fn a_platform_that_is_not_there_is_not_found() {
    let (scene, image) = Scene::with_image();
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
        .arg(scene.output())
        .output()
        .unwrap();
    let error = failure(&output);
    assert_eq!(error["kind"], "not_found", "{error}");
    assert!(error["message"].as_str().unwrap().contains("linux/s390x"), "{error}");
}

/// An image of which one thing is wrong, and what the build calls it.
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
        ("the blob goes on", |layout| {
            let layer = layout.gzip_layer(&tar_of_a_file());
            let blob = fs::read(layout.blob_path(&layer)).unwrap();
            write(layout, &layer, &[blob, gzip(b"")].concat());
            (layer, "permanent")
        }),
        ("the blob is another one", |layout| {
            let layer = layout.gzip_layer(&tar_of_a_file());
            write(layout, &layer, &gzip(&tar(&[("other", b"")])));
            (layer, "permanent")
        }),
        ("the content is not that of the config", |layout| {
            let layer = Layer {
                diff_id: digest(b"another"),
                ..layout.gzip_layer(&tar_of_a_file())
            };
            (layer, "permanent")
        }),
        ("the gzip stream is corrupt, as its digest has it", |layout| {
            let tar = tar_of_a_file();
            let mut blob = gzip(&tar);
            *blob.last_mut().unwrap() ^= 1;
            (layout.layer(&blob, digest(&tar)), "permanent")
        }),
        ("the gzip stream is cut off, as its digest has it", |layout| {
            let tar = tar_of_a_file();
            let blob = gzip(&tar);
            (layout.layer(&blob[..blob.len() / 2], digest(&tar)), "permanent")
        }),
        ("the tar is cut off, as its digest has it", |layout| {
            let tar = tar_of_a_file();
            (layout.gzip_layer(&tar[..10_000]), "permanent")
        }),
        ("the layer is a text", |layout| {
            (layout.gzip_layer(b"<html>404 not found</html>"), "permanent")
        }),
    ];
    for (what, damage) in table {
        let scene = Scene::new();
        let good = scene.layout.gzip_layer(&tar(&[("etc/motd", b"welcome\n")]));
        let (bad, kind) = damage(&scene.layout);
        let image = scene.layout.pinned(&scene.layout.image(&[good, bad]));
        let run = || failure(&scene.build(&image).args(["--mode", "ax"]).output().unwrap());

        let error = run();
        assert_eq!(error["kind"], *kind, "{what}: {error}");
        assert!(scene.left().is_empty(), "{what}: {:?}", scene.left());

        fs::write(scene.output(), "precious").unwrap();
        run();
        assert_eq!(fs::read_to_string(scene.output()).unwrap(), "precious", "{what}");
        assert_eq!(scene.left(), ["rootfs.ext4"], "{what}");
    }
}

#[test]
fn a_damaged_blob_is_named_whatever_its_bytes_break() {
    let scene = Scene::new();
    let layer = scene.layout.gzip_layer(&tar(&[("data", &vec![7; 100_000])]));
    let blob = scene.layout.blob_path(&layer);
    let named = layer.descriptor["digest"].as_str().unwrap().to_owned();
    let image = scene.layout.pinned(&scene.layout.image(&[layer]));
    let mut damaged = fs::read(&blob).unwrap();
    damaged[5..].reverse();
    fs::write(&blob, &damaged).unwrap();

    let error = failure(&scene.build(&image).args(["--mode", "ax"]).output().unwrap());
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains(&named) && message.contains(&digest(&damaged)),
        "{message}"
    );
}

#[test]
fn an_encrypted_layer_is_called_one() {
    let scene = Scene::new();
    let media_type = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    let layer = scene.layout.layer_of(media_type, b"secret", digest(b"content"));
    let image = scene.layout.pinned(&scene.layout.image(&[layer]));
    let error = failure(&scene.build(&image).args(["--mode", "ax"]).output().unwrap());
    assert_eq!(error["kind"], "unsupported");
    let said = |field: &str| error[field].as_str().unwrap().to_owned();
    assert!(
        said("message").contains(media_type) && said("remediation").contains("decrypt"),
        "{error}"
    );
}

#[test]
fn an_image_that_does_not_fit_says_what_it_needs() {
    let scene = Scene::new();
    let content: Vec<u8> = (0..8 << 20)
        .map(|byte: u32| byte.to_le_bytes()[byte as usize % 3] | 1)
        .collect();
    let layer = scene.layout.gzip_layer(&tar(&[("data", &content)]));
    let image = scene.layout.pinned(&scene.layout.image(&[layer]));
    let output = scene
        .build(&image)
        .args(["--mode", "ax", "--size-mib", "4"])
        .output()
        .unwrap();
    let error = failure(&output);
    assert_eq!(error["kind"], "resource_exhausted", "{error}");
    assert!(scene.left().is_empty());

    let remediation = error["remediation"].as_str().unwrap();
    let needed = remediation
        .split_whitespace()
        .skip_while(|&word| word != "--size-mib")
        .nth(1)
        .unwrap();
    let output = scene
        .build(&image)
        .args(["--json", "--size-mib", needed])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn what_an_image_says_of_itself_moves_no_cursor_and_fills_no_screen() {
    let scene = Scene::new();
    let path = scene.root.path().join("saved.tar");
    for (config, shown) in [
        ("\u{1b}[2J\u{202e}\u{9b}x".to_owned(), "\\u{1b}[2J\\u{202e}\\u{9b}x"),
        ("x".repeat(400_000), "xxxx…"),
    ] {
        let manifest = serde_json::json!([{"Config": config, "Layers": []}]).to_string();
        fs::write(&path, tar(&[("manifest.json", manifest.as_bytes())])).unwrap();
        let reference = format!("docker-archive:{}", path.display());
        for mode in ["ux", "ax"] {
            let mut command = scene.build(&reference);
            let output = command.args(["--allow-mutable", "--mode", mode]).output().unwrap();
            let said = stderr(&output);
            let shown = if mode == "ax" {
                shown.replace('\\', "\\\\")
            } else {
                shown.to_owned()
            };
            assert!(said.contains(&shown), "{said}");
            assert!(
                said.len() < 5000 && !said.contains(['\u{1b}', '\u{202e}', '\u{9b}']),
                "{said:?}"
            );
        }
    }
}
