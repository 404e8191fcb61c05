//! Checks that the prebuilt programs of the guest's init match their sources.
//!
//! `just init` builds `src/guest/init/<processor>` from `guest/init`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::skip::skip;

/// Runs a command in `guest/init`, without compiler flags from the environment.
fn run(command: &mut Command) -> Output {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/init");
    for variable in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_INCREMENTAL",
    ] {
        command.env_remove(variable);
    }
    command.current_dir(sources).output().expect("the command can be run")
}

/// Builds the program for a processor, and returns its path. Compares it with the prebuilt one if
/// the compiler has the pinned version. Returns `None` and reports the test as skipped if the
/// compiler does not support the target.
fn build_and_compare(cpu: &str) -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let triple = format!("{cpu}-unknown-linux-gnu");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("init");
    let build = [
        "build",
        "--release",
        "--locked",
        "--offline",
        "--target",
        &triple,
        "--target-dir",
    ];
    let output = run(Command::new(env!("CARGO")).args(build).arg(&target));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let compiler = String::from_utf8(run(Command::new("rustc").arg("--version")).stdout).expect("a version is text");
    let pinned =
        fs::read_to_string(repository.join("guest/init/rust-toolchain.toml")).expect("the file is in the repository");
    let is_pinned = compiler
        .split_whitespace()
        .nth(1)
        .is_some_and(|version| pinned.contains(&format!("\"{version}\"")));
    // E0463: `core` for the target is not installed.
    if !output.status.success() && (!is_pinned || stderr.contains("E0463")) {
        skip(&format!(
            "{compiler} does not build the init for {triple}: rustup target add {triple}"
        ));
        return None;
    }
    assert!(output.status.success(), "{stderr}");
    let program = target.join(&triple).join("release/microagent-init");
    // Another compiler produces other bytes: then it is enough that it compiles the program.
    if is_pinned {
        let prebuilt = fs::read(repository.join("src/guest/init").join(cpu)).expect("the file is in the repository");
        assert!(
            prebuilt == fs::read(&program).expect("it was built"),
            "the init changed: run `just init`"
        );
    }
    Some(program)
}

#[test]
fn prebuilt_amd64_init_matches_its_sources() {
    let Some(program) = build_and_compare("x86_64") else {
        return;
    };
    let output = run(&mut Command::new(&program));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "microagent-init: has to be the first process of a machine\n"
    );
}

#[test]
fn prebuilt_arm64_init_matches_its_sources() {
    build_and_compare("aarch64");
}
