//! Tests of events on standard error: `-v`, `-vv` and `RUST_LOG`.

use std::fs;
use std::process::{Command, Output};

use super::context::{Context, failure, json, microagent, stderr, stderr_lines, stdout};
use support::program::repository;

/// Returns the levels and targets of the events on standard error, and asserts their form.
#[track_caller]
fn events(output: &Output) -> Vec<(String, String)> {
    let event = |line: &str| {
        let mut words = line.split_whitespace();
        let seconds = words.next().and_then(|word| word.parse::<f64>().ok());
        seconds.unwrap_or_else(|| panic!("{line} does not begin with a time"));
        let [level, target] = [words.next(), words.next()].map(|word| word.unwrap_or_else(|| panic!("{line}")));
        assert!(target.ends_with(':') && words.next().is_some(), "{line}");
        (level.to_owned(), target.to_owned())
    };
    stderr_lines(output).into_iter().map(event).collect()
}

/// Returns the levels of the events on standard error, each once.
fn levels(output: &Output) -> Vec<String> {
    let mut levels: Vec<_> = events(output).into_iter().map(|(level, _)| level).collect();
    levels.sort();
    levels.dedup();
    levels
}

/// Returns the build of the sample image, which prints nothing on standard error but events.
fn build_hello(context: &Context) -> Command {
    let mut build = context.build("oci:examples/hello:latest");
    build.arg("--allow-mutable").current_dir(repository());
    build
}

#[test]
fn events_go_to_standard_error_and_change_nothing_else() {
    let context = Context::new();
    let quiet = build_hello(&context).output().unwrap();
    assert_eq!(stderr_lines(&quiet), <[&str; 0]>::default());
    let image = fs::read(context.output()).unwrap();
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
        let output = build_hello(&context).args(flags).env("RUST_LOG", log).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(levels(&output), expected, "{flags:?} {log}: {}", stderr(&output));
        assert_eq!(stdout(&output), stdout(&quiet), "{flags:?} {log}");
        assert!(fs::read(context.output()).unwrap() == image, "{flags:?} {log}");
    }
    for log in ["", "off", "hyper=trace", "error"] {
        let output = build_hello(&context).env("RUST_LOG", log).output().unwrap();
        assert_eq!(stderr_lines(&output), <[&str; 0]>::default(), "{log}");
    }
}

#[test]
fn events_name_the_image_found_and_the_platforms_skipped() {
    let context = Context::new();
    let output = build_hello(&context).arg("-vv").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stderr(&output);
    for event in [
        "INFO oci::resolve: found the image reference=oci:examples/hello@sha256:",
        "DEBUG oci::resolve: skipped: another platform digest=sha256:",
        " platform=linux/arm64",
    ] {
        assert!(text.contains(event), "{event}: {text}");
    }
}

#[test]
fn rust_log_selects_one_target() {
    let context = Context::new();
    let mut build = build_hello(&context);
    let output = build.env("RUST_LOG", "oci::resolve=debug").output().unwrap();
    let targets: Vec<_> = events(&output).into_iter().map(|(_, target)| target).collect();
    assert!(
        !targets.is_empty() && targets.iter().all(|target| target == "oci::resolve:"),
        "{targets:?}"
    );
}

#[test]
fn events_precede_a_json_failure() {
    let context = Context::new();
    let mut build = build_hello(&context);
    build.args(["-v", "--mode", "ax", "--max-entries", "1"]);
    let mut output = build.output().unwrap();
    let text = stderr(&output).to_owned();
    let (events, last) = text.trim_end().rsplit_once('\n').unwrap();
    assert!(events.contains("INFO oci::resolve: found the image"), "{text}");
    output.stderr = format!("{last}\n").into();
    assert!(failure(&output)["message"].is_string());
}

#[test]
fn verify_accepts_verbose_on_either_side() {
    let context = Context::new();
    assert_eq!(build_hello(&context).output().unwrap().status.code(), Some(0));
    for (before, after) in [(Some("-v"), None), (None, Some("--verbose"))] {
        let mut verify = microagent();
        verify
            .args(before)
            .args(["rootfs", "verify"])
            .args(after)
            .arg(context.output());
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
