//! Tests of command-line arguments and environment variables: what is accepted, and what is wrong
//! usage.

use super::context::{Context, json, microagent, stderr, stdout};
use support::single_image::digest;

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
        "--platform <OS/ARCH[/VARIANT]>",
        "--size-mib <MIB>",
        "--allow-mutable",
        "--keep-stage",
        "--stage-snapshot <DIR>",
        "--mke2fs <PATH>",
        "--state-dir <DIR>",
        "--progress <STYLE>",
        "--cache-limit-mib <MIB>",
        "MICROAGENT_CACHE_LIMIT_MIB",
        "--label <LABEL>",
        "--uuid <UUID>",
        "--digest",
        "--json",
        "--text",
        "--output <FORMAT>",
        "--mode <MODE>",
        "-v, --verbose",
        "RUST_LOG",
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
fn version_names_the_commit_and_the_target() {
    let output = microagent().args(["version", "--json"]).output().unwrap();
    let version = json(stdout(&output));
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let target = version["target"].as_str().unwrap();
    assert!(target.starts_with(std::env::consts::ARCH), "{target}");
    if let Some(commit) = version["commit"].as_str() {
        assert!(commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    let output = microagent().args(["version", "--text"]).output().unwrap();
    let text = stdout(&output);
    assert!(
        text.starts_with(&format!("microagent {}\n", env!("CARGO_PKG_VERSION"))) && text.contains(target),
        "{text}"
    );
}

#[test]
fn invalid_arguments_are_wrong_usage() {
    let context = Context::new();
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
        (&["--image", &image, "--out", "x", "--platform", "amd64"], "--platform"),
        (
            &[
                "--image",
                &image,
                "--out",
                "x",
                "--platform",
                "linux/amd64",
                "--arch",
                "amd64",
            ],
            "--platform",
        ),
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
            .current_dir(context.outputs())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "");
        assert!(stderr(&output).contains(named), "{arguments:?}: {}", stderr(&output));
    }
    assert!(context.output_names().is_empty());
}

#[test]
fn flags_on_both_sides_of_the_command_can_contradict_each_other() {
    let (context, image) = Context::with_image();
    let output = microagent()
        .args(["--json", "rootfs", "build", "--text", "--image", &image, "--out"])
        .arg(context.output())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("contradict"));
}

#[test]
fn variables_with_unknown_values_are_wrong_usage() {
    let (context, image) = Context::with_image();
    for (variable, value) in [
        ("MICROAGENT_MODE", "dx"),
        ("MICROAGENT_OUTPUT", "yaml"),
        ("SOURCE_DATE_EPOCH", "yesterday"),
        ("SOURCE_DATE_EPOCH", "+1"),
        ("SOURCE_DATE_EPOCH", "1.5"),
        ("RUST_LOG", "loud=loud"),
        ("RUST_LOG", "oci=trace,microagent=loud"),
        ("RUST_LOG", "oci[span]=debug"),
    ] {
        let output = context.build(&image).env(variable, value).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{variable}={value}");
        assert!(
            stderr(&output).contains(variable) && stderr(&output).contains(value),
            "{}",
            stderr(&output)
        );
    }
    assert!(context.output_names().is_empty());
}

#[test]
fn wrong_usage_is_json_in_ax_mode() {
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
    let context = Context::new();
    for mode in ["ux", "ax"] {
        let output = context
            .build("https://user:hunter2@registry.example/image")
            .args(["--mode", mode])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(!stderr(&output).contains("hunter2"), "{}", stderr(&output));
    }
}
