//! Events on standard error: `-v`, `-vv` and `RUST_LOG`.

use std::fs;
use std::process::{Command, Output};

use super::scene::{Scene, complaints, failure, json, microagent, stderr, stdout};
use support::program::repository;

/// Returns the levels and targets of the events on standard error, and asserts their form.
#[track_caller]
fn events(output: &Output) -> Vec<(String, String)> {
    let event = |line: &str| {
        let mut words = line.split_whitespace();
        let seconds = words.next().and_then(|word| word.parse::<f64>().ok());
        seconds.unwrap_or_else(|| panic!("{line} begins with no time"));
        let [level, target] = [words.next(), words.next()].map(|word| word.unwrap_or_else(|| panic!("{line}")));
        assert!(target.ends_with(':') && words.next().is_some(), "{line}");
        (level.to_owned(), target.to_owned())
    };
    complaints(output).into_iter().map(event).collect()
}

fn levels(output: &Output) -> Vec<String> {
    let mut levels: Vec<_> = events(output).into_iter().map(|(level, _)| level).collect();
    levels.sort();
    levels.dedup();
    levels
}

/// The build of the example, of which nothing but its events differs.
fn build_hello(scene: &Scene) -> Command {
    let mut build = scene.build("oci:examples/hello:latest");
    build.arg("--allow-mutable").current_dir(repository());
    build
}

#[test]
fn events_go_to_standard_error_and_change_nothing_else() {
    let scene = Scene::new();
    let quiet = build_hello(&scene).output().unwrap();
    assert_eq!(complaints(&quiet), <[&str; 0]>::default());
    let image = fs::read(scene.output()).unwrap();
    let builds: [(&[&str], &str, &[&str]); 7] = [
        (&["-v"], "", &["INFO"]),
        (&["-vv"], "", &["DEBUG", "INFO"]),
        (&["--verbose", "--verbose", "-v"], "", &["DEBUG", "INFO"]),
        (&[], "info", &["INFO"]),
        (&[], "microagent=info,oci=debug", &["DEBUG", "INFO"]),
        // The flag wins.
        (&["-v"], "trace", &["INFO"]),
        (&["-v"], "oci=loud", &["INFO"]),
    ];
    for (flags, log, expected) in builds {
        let output = build_hello(&scene).args(flags).env("RUST_LOG", log).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(levels(&output), expected, "{flags:?} {log}: {}", stderr(&output));
        assert_eq!(stdout(&output), stdout(&quiet), "{flags:?} {log}");
        assert!(fs::read(scene.output()).unwrap() == image, "{flags:?} {log}");
    }
    for log in ["", "off", "hyper=trace", "error"] {
        let output = build_hello(&scene).env("RUST_LOG", log).output().unwrap();
        assert_eq!(complaints(&output), <[&str; 0]>::default(), "{log}");
    }
}

#[test]
fn a_build_tells_which_image_it_found_and_which_not() {
    let scene = Scene::new();
    let output = build_hello(&scene).arg("-vv").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stderr(&output);
    for event in [
        "INFO oci::resolve: found the image reference=oci:examples/hello@sha256:",
        "DEBUG oci::resolve: skipped: another platform digest=sha256:",
        " platform=linux/arm64",
    ] {
        assert!(said.contains(event), "{event}: {said}");
    }
}

#[test]
fn events_of_one_target_can_be_asked_for() {
    let scene = Scene::new();
    let mut build = build_hello(&scene);
    let output = build.env("RUST_LOG", "oci::resolve=debug").output().unwrap();
    let targets: Vec<_> = events(&output).into_iter().map(|(_, target)| target).collect();
    assert!(
        !targets.is_empty() && targets.iter().all(|target| target == "oci::resolve:"),
        "{targets:?}"
    );
}

#[test]
fn events_come_before_a_failure_that_is_json() {
    let scene = Scene::new();
    let mut build = build_hello(&scene);
    build.args(["-v", "--mode", "ax", "--max-entries", "1"]);
    let mut output = build.output().unwrap();
    let said = stderr(&output).to_owned();
    let (events, last) = said.trim_end().rsplit_once('\n').unwrap();
    assert!(events.contains("INFO oci::resolve: found the image"), "{said}");
    output.stderr = format!("{last}\n").into();
    assert!(failure(&output)["message"].is_string());
}

#[test]
fn other_commands_take_the_flag_on_either_side() {
    let scene = Scene::new();
    assert_eq!(build_hello(&scene).output().unwrap().status.code(), Some(0));
    for (before, after) in [(Some("-v"), None), (None, Some("--verbose"))] {
        let mut verify = microagent();
        verify
            .args(before)
            .args(["rootfs", "verify"])
            .args(after)
            .arg(scene.output());
        let output = verify.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("INFO microagent::verify: checked the file system"),
            "{}",
            stderr(&output)
        );
        json(stdout(&output));
    }
}
