//! The `microagent` command as its users meet it: what it prints, what it returns, and what it leaves behind.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "support/layout.rs"]
mod layout;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use layout::{Layer, Layout, digest, gzip};

/// An image layout, and a directory for outputs beside it.
struct Scene {
    root: TempDir,
    layout: Layout,
}

impl Scene {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("out")).unwrap();
        let layout = Layout::create(root.path().join("layout"));
        Self { root, layout }
    }

    /// A scene, and a reference to its good image of two layers.
    fn with_image() -> (Self, String) {
        let scene = Self::new();
        let lower = scene
            .layout
            .gzip_layer(&tar(&[("etc/hostname", b"lower\n"), ("etc/motd", b"welcome\n")]));
        let upper = scene.layout.gzip_layer(&tar(&[("etc/hostname", b"upper\n")]));
        let manifest = scene.layout.image(&[lower, upper]);
        let reference = scene.layout.pinned(&manifest);
        (scene, reference)
    }

    fn output(&self) -> PathBuf {
        self.outputs().join("rootfs.ext4")
    }

    fn outputs(&self) -> PathBuf {
        self.root.path().join("out")
    }

    /// Names of all that is where the output belongs, hidden files too.
    fn left(&self) -> Vec<String> {
        names(&self.outputs())
    }

    /// `microagent rootfs build` of a reference, for linux/amd64.
    fn build(&self, reference: &str) -> Command {
        let mut command = microagent();
        command
            .args(["rootfs", "build", "--arch", "amd64", "--image", reference, "--out"])
            .arg(self.output());
        command.arg("--state-dir").arg(self.root.path().join("state"));
        command
    }
}

fn microagent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_microagent"));
    for variable in ["MICROAGENT_MODE", "MICROAGENT_OUTPUT", "SOURCE_DATE_EPOCH"] {
        command.env_remove(variable);
    }
    command
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

/// The JSON object on a line of its own.
fn json(line: &str) -> Value {
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// The error of an operation that failed in AX mode.
fn failure(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(1), "{}", stderr(output));
    assert_eq!(stdout(output), "");
    let failure = json(stderr(output));
    assert_eq!(failure["ok"], false);
    failure["error"].clone()
}

mod arguments {
    use super::*;

    #[test]
    fn help_shows_every_flag_and_examples() {
        let output = microagent().args(["rootfs", "build", "--help"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let help = stdout(&output);
        for flag in [
            "--image <REF>",
            "--out <PATH>",
            "--os <OS>",
            "--arch <ARCH>",
            "--size-mib <MIB>",
            "--allow-mutable",
            "--state-dir <DIR>",
            "--label <LABEL>",
            "--uuid <UUID>",
            "--json",
            "--text",
            "--output <FORMAT>",
            "--mode <MODE>",
            "MICROAGENT_MODE",
            "MICROAGENT_OUTPUT",
            "SOURCE_DATE_EPOCH",
            "Examples:",
        ] {
            assert!(help.contains(flag), "{flag} is not in\n{help}");
        }
    }

    #[test]
    fn version_is_that_of_the_package() {
        let output = microagent().arg("--version").output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(stdout(&output), format!("microagent {}\n", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn what_makes_no_sense_is_wrong_usage() {
        let scene = Scene::new();
        let image = format!("localhost/image@{}", digest(b""));
        let table: &[(&[&str], &str)] = &[
            (&[], "--image"),
            (&["--image", &image], "--out"),
            (&["--image", &image, "--out"], "--out"),
            (&["--image", &image, "--out", "x", "--size-mib", "0"], "--size-mib"),
            (
                &["--image", &image, "--out", "x", "--size-mib", "16777217"],
                "--size-mib",
            ),
            (&["--image", &image, "--out", "x", "--size-mib", "1GiB"], "--size-mib"),
            (
                &["--image", &image, "--out", "x", "--label", "seventeen letters"],
                "--label",
            ),
            (
                &[
                    "--image",
                    &image,
                    "--out",
                    "x",
                    "--uuid",
                    "6b8e2bd49d238c5a9a370b5f1d2c3e4f",
                ],
                "--uuid",
            ),
            (
                &[
                    "--image",
                    &image,
                    "--out",
                    "x",
                    "--uuid",
                    "00000000-0000-0000-0000-000000000000",
                ],
                "--uuid",
            ),
            (&["--image", &image, "--out", "x", "--arch", "amd 64"], "--arch"),
            (&["--image", &image, "--out", "x", "--mode", "fx"], "--mode"),
            (&["--image", &image, "--out", "x", "--output", "yaml"], "--output"),
            (&["--image", &image, "--out", "x", "--json", "--text"], "--json"),
            (
                &["--image", &image, "--out", "x", "--json", "--output", "text"],
                "--json",
            ),
            (&["--image", &image, "--out", "x", "--mke2fs"], "--mke2fs"),
            (&["--image", "UPPER@x", "--out", "x"], "--image"),
            (&["--image", "", "--out", "x"], "--image"),
        ];
        for (arguments, named) in table {
            let output = microagent()
                .args(["rootfs", "build"])
                .args(*arguments)
                .current_dir(scene.outputs())
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
            assert_eq!(stdout(&output), "");
            assert!(stderr(&output).contains(named), "{arguments:?}: {}", stderr(&output));
        }
        assert!(scene.left().is_empty());
    }

    #[test]
    fn flags_on_both_sides_of_the_command_can_contradict_each_other() {
        let (scene, image) = Scene::with_image();
        let output = microagent()
            .args(["--json", "rootfs", "build", "--text", "--image", &image, "--out"])
            .arg(scene.output())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("contradict"));
    }

    #[test]
    fn variables_with_unknown_values_are_wrong_usage() {
        let (scene, image) = Scene::with_image();
        for (variable, value) in [
            ("MICROAGENT_MODE", "dx"),
            ("MICROAGENT_OUTPUT", "yaml"),
            ("SOURCE_DATE_EPOCH", "yesterday"),
            ("SOURCE_DATE_EPOCH", "+1"),
            ("SOURCE_DATE_EPOCH", "1.5"),
        ] {
            let output = scene.build(&image).env(variable, value).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{variable}={value}");
            assert!(
                stderr(&output).contains(variable) && stderr(&output).contains(value),
                "{}",
                stderr(&output)
            );
        }
        assert!(scene.left().is_empty());
    }

    #[test]
    fn wrong_usage_is_json_too_when_programs_read_it() {
        let asked_for = [
            microagent().args(["--mode", "ax", "rootfs", "build"]).output().unwrap(),
            microagent().args(["rootfs", "build", "--mode=ax"]).output().unwrap(),
            microagent()
                .args(["rootfs", "build"])
                .env("MICROAGENT_MODE", "ax")
                .output()
                .unwrap(),
        ];
        for output in asked_for {
            assert_eq!(output.status.code(), Some(2));
            let failure = json(stderr(&output));
            assert_eq!(failure["ok"], false);
            assert_eq!(failure["error"]["kind"], "permanent");
            let message = failure["error"]["message"].as_str().unwrap();
            assert!(
                message.contains("--image <REF>") && !message.contains('\n'),
                "{message}"
            );
        }
    }

    #[test]
    fn a_password_in_a_reference_is_not_repeated() {
        let scene = Scene::new();
        for mode in ["ux", "ax"] {
            let output = scene
                .build("https://user:hunter2@registry.example/image")
                .args(["--mode", mode])
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(2));
            assert!(!stderr(&output).contains("hunter2"), "{}", stderr(&output));
        }
    }
}

mod report {
    use super::*;

    #[test]
    fn json_says_what_was_made_of_what() {
        let (scene, image) = Scene::with_image();
        let output = scene.build(&image).arg("--json").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stderr(&output), "");

        let report = json(stdout(&output));
        let keys: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "builder",
                "builder_phase",
                "digest",
                "format",
                "image_ref",
                "inode_count",
                "layer_digests",
                "output_path",
                "platform",
                "resolved_ref",
                "size_bytes",
                "used_bytes",
                "uuid",
            ]
        );
        assert_eq!(report["image_ref"], image);
        assert_eq!(report["resolved_ref"], image);
        assert!(image.ends_with(report["digest"].as_str().unwrap()));
        assert_eq!(
            report["platform"],
            serde_json::json!({"os": "linux", "architecture": "amd64", "variant": null})
        );
        assert_eq!(report["output_path"], scene.output().to_str().unwrap());
        assert_eq!(report["format"], "ext4");
        assert_eq!(report["builder"], "native");
        assert_eq!(report["builder_phase"], "complete");
        assert_eq!(report["layer_digests"].as_array().unwrap().len(), 2);
        assert_eq!(report["size_bytes"], 1_u64 << 30);
        assert_eq!(report["size_bytes"], fs::metadata(scene.output()).unwrap().len());
        assert!(report["used_bytes"].as_u64().unwrap() < 1 << 30);
        assert!(report["inode_count"].as_u64().unwrap() > 10);
        assert_eq!(scene.left(), ["rootfs.ext4"]);
    }

    #[test]
    fn a_tag_resolves_to_a_pinned_reference() {
        let (scene, image) = Scene::with_image();
        let output = scene
            .build(&scene.layout.tagged())
            .args(["--json", "--allow-mutable"])
            .output()
            .unwrap();
        let report = json(stdout(&output));
        assert_eq!(report["image_ref"], scene.layout.tagged());
        assert_eq!(report["resolved_ref"], image);
    }

    #[test]
    fn text_names_the_output() {
        let (scene, image) = Scene::with_image();
        let output = scene.build(&image).arg("--text").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(
            stdout(&output).starts_with(&format!("built {}\n", scene.output().display())),
            "{}",
            stdout(&output)
        );
        assert!(stdout(&output).contains("1024 MiB") && stdout(&output).contains("linux/amd64, 2 layers"));
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_default() {
        let (scene, image) = Scene::with_image();
        let table: &[(&[&str], Option<&str>, Option<&str>, bool)] = &[
            (&[], None, None, true),
            (&[], Some("text"), None, false),
            (&["--json"], Some("text"), None, true),
            (&["--output", "text"], Some("json"), None, false),
            (&["--output=json", "--json"], None, None, true),
            (&["--text"], None, Some("ax"), false),
            (&["--mode", "ax"], Some("text"), None, false),
            (&[], Some(""), Some("ax"), true),
        ];
        for (arguments, output_variable, mode_variable, is_json) in table {
            let mut command = scene.build(&image);
            command.args(*arguments);
            for (name, value) in [
                ("MICROAGENT_OUTPUT", output_variable),
                ("MICROAGENT_MODE", mode_variable),
            ] {
                if let Some(value) = value {
                    command.env(name, value);
                }
            }
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            assert_eq!(
                stdout(&output).starts_with('{'),
                *is_json,
                "{arguments:?} {output_variable:?} {mode_variable:?}"
            );
        }
    }

    #[test]
    fn global_flags_come_before_the_command_too() {
        let (scene, image) = Scene::with_image();
        let output = microagent()
            .args([
                "--text",
                "rootfs",
                "--mode",
                "ax",
                "build",
                "--arch=amd64",
                "--image",
                &image,
                "--out",
            ])
            .arg(scene.output())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).starts_with("built "));
    }

    #[test]
    fn uuid_label_and_size_are_those_asked_for() {
        let (scene, image) = Scene::with_image();
        let uuid = "6b8e2bd4-9d23-4c5a-9a37-0b5f1d2c3e4f";
        let output = scene
            .build(&image)
            .args([
                "--json",
                "--uuid",
                uuid,
                "--label",
                "sixteen letters!",
                "--size-mib",
                "64",
            ])
            .output()
            .unwrap();
        let report = json(stdout(&output));
        assert_eq!(report["uuid"], uuid);
        assert_eq!(report["size_bytes"], 64 << 20);

        // s_uuid and s_volume_name of the superblock, which begins at byte 1024.
        let superblock = &fs::read(scene.output()).unwrap()[1024..2048];
        assert_eq!(superblock[0x68..0x78], *uuid::Uuid::parse_str(uuid).unwrap().as_bytes());
        assert_eq!(superblock[0x78..0x88], *b"sixteen letters!");
    }

    #[test]
    fn the_same_image_gives_the_same_bytes_elsewhere() {
        let (scene, image) = Scene::with_image();
        let small = ["--json", "--size-mib", "16"];
        scene
            .build(&image)
            .args(small)
            .env("TZ", "Asia/Tokyo")
            .env("LANG", "tr_TR.UTF-8")
            .output()
            .unwrap();
        let first = fs::read(scene.output()).unwrap();

        let (elsewhere, image) = Scene::with_image();
        elsewhere
            .build(&image)
            .args(small)
            .env("TZ", "America/Lima")
            .env("HOME", "/nowhere")
            .output()
            .unwrap();
        assert!(first == fs::read(elsewhere.output()).unwrap());
    }

    #[test]
    fn source_date_epoch_makes_newer_times_older() {
        let scene = Scene::new();
        let mut header = tar::Header::new_ustar();
        header.set_mtime(2_000_000_000);
        header.set_size(0);
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_data(&mut header, "file", &b""[..]).unwrap();
        let layer = scene.layout.gzip_layer(&tar.into_inner().unwrap());
        let image = scene.layout.pinned(&scene.layout.image(&[layer]));
        let built = |epoch: &str| {
            let mut build = scene.build(&image);
            let output = build
                .args(["--json", "--size-mib", "16"])
                .env("SOURCE_DATE_EPOCH", epoch)
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            fs::read(scene.output()).unwrap()
        };
        let unchanged = built("");
        assert!(unchanged == built("2000000000"));
        assert!(unchanged != built("1999999999"));
    }

    #[cfg(unix)]
    #[test]
    fn nobody_listening_is_no_failure() {
        let (scene, image) = Scene::with_image();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = scene.build(&image).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stderr(&output), "");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_report_that_cannot_be_written_is_a_failure() {
        let (scene, image) = Scene::with_image();
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = scene
            .build(&image)
            .args(["--mode", "ax"])
            .stdout(full)
            .output()
            .unwrap();
        let error = failure(&output);
        assert_eq!(error["kind"], "resource_exhausted");
        assert_eq!(error["partial_output"], true);
    }
}

mod failures {
    use super::*;

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
            tar(&[("data", &[7; 100_000])])
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
        let layer = scene.layout.gzip_layer(&tar(&[("data", &[7; 100_000])]));
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
}

mod outputs {
    use super::*;

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

    /// A file system of a MiB, where the user may mount one.
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
            assert!(std::env::var_os("REQUIRE_ORACLES").is_none(), "unshare is missing");
            return eprintln!("skipped: unshare is missing");
        };
        if !stdout(&output).contains("old") {
            assert!(std::env::var_os("REQUIRE_ORACLES").is_none(), "{}", stderr(&output));
            return eprintln!("skipped: no tmpfs for this user: {}", stderr(&output));
        }
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(stdout(&output), "old\n");
        let error = &json(stderr(&output))["error"];
        assert_eq!(error["kind"], "resource_exhausted", "{error}");
    }
}

#[cfg(target_os = "linux")]
mod signals {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    /// A build that takes minutes, begun by a shell command that ends with `exec "$@"`: a file of 7 GiB of zeros, made of
    /// many gzip members of which each is small.
    fn start(scene: &Scene, shell: &str) -> Child {
        const MEMBER: usize = 16 << 20;
        const COUNT: usize = 448;
        let mut header = tar::Header::new_ustar();
        header.set_path("zeros").unwrap();
        header.set_mode(0o644);
        header.set_size((MEMBER * COUNT) as u64);
        header.set_cksum();
        let blob = [gzip(header.as_bytes()), gzip(&vec![0; MEMBER]).repeat(COUNT)].concat();
        let layer = scene.layout.layer(&blob, digest(b"never reached"));
        let image = scene.layout.pinned(&scene.layout.image(&[layer]));
        let build = scene.build(&image);
        let child = Command::new("sh")
            .args(["-c", shell, "sh"])
            .arg(build.get_program())
            .args(build.get_args())
            .args(["--mode", "ax"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        await_output(&child, &scene.outputs());
        child
    }

    /// Waits until the process has a file open in the directory, named or not.
    fn await_output(child: &Child, directory: &Path) {
        let descriptors = format!("/proc/{}/fd", child.id());
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            let open = fs::read_dir(&descriptors)
                .unwrap()
                .flatten()
                .filter_map(|entry| fs::read_link(entry.path()).ok());
            if open.into_iter().any(|path| path.starts_with(directory)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("no output after a minute");
    }

    fn send(signal: &str, child: &Child) {
        let status = Command::new("kill")
            .args([format!("-{signal}"), child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    #[test]
    fn a_signal_leaves_nothing_and_an_existing_file_as_it_was() {
        for (signal, exit_status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
            let scene = Scene::new();
            fs::write(scene.output(), "precious").unwrap();
            let child = start(&scene, "exec \"$@\"");
            send(signal, &child);
            let sent = Instant::now();
            let output = child.wait_with_output().unwrap();
            assert!(
                sent.elapsed() < Duration::from_secs(10),
                "{signal}: {:?}",
                sent.elapsed()
            );
            assert_eq!(output.status.code(), Some(exit_status), "{signal}: {}", stderr(&output));
            assert_eq!(stdout(&output), "");
            let failure = json(stderr(&output));
            assert_eq!(failure["error"]["kind"], "transient");
            assert_eq!(failure["error"]["partial_output"], false);
            assert_eq!(fs::read_to_string(scene.output()).unwrap(), "precious");
            assert_eq!(scene.left(), ["rootfs.ext4"]);
        }
    }

    #[test]
    fn a_signal_that_was_ignored_from_the_start_stays_ignored() {
        let scene = Scene::new();
        let mut child = start(&scene, "trap '' HUP && exec \"$@\"");
        send("HUP", &child);
        thread::sleep(Duration::from_millis(500));
        assert!(child.try_wait().unwrap().is_none(), "SIGHUP ended it");
        send("TERM", &child);
        assert_eq!(child.wait().unwrap().code(), Some(143));
    }

    #[test]
    fn a_killed_process_leaves_nothing_where_files_can_be_nameless() {
        let scene = Scene::new();
        let mut child = start(&scene, "exec \"$@\"");
        let is_nameless = scene.left().is_empty();
        send("KILL", &child);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        if is_nameless {
            assert!(scene.left().is_empty(), "{:?}", scene.left());
        } else {
            assert!(
                scene
                    .left()
                    .iter()
                    .all(|name| name.starts_with(".microagent-") && name.ends_with(".partial"))
            );
        }
    }
}
