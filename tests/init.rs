//! The init's programs that are in the repository are what its sources give.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::skip::skip;

/// Runs a command in the directory of the sources, without flags from outside.
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

/// Builds the program for a processor, and compares it with the one that is checked in, where the
/// compiler is the one that made that. Returns its path; `None`, with the reason on stderr, where
/// it cannot be built.
fn built_as_checked_in(cpu: &str) -> Option<PathBuf> {
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
    let said = String::from_utf8_lossy(&output.stderr);
    let compiler = String::from_utf8(run(Command::new("rustc").arg("--version")).stdout).expect("a version is text");
    let pinned = fs::read_to_string(repository.join("guest/init/rust-toolchain.toml")).expect("it is there");
    let is_pinned = compiler
        .split_whitespace()
        .nth(1)
        .is_some_and(|version| pinned.contains(&format!("\"{version}\"")));
    // E0463: there is no `core` for the target.
    if !output.status.success() && (!is_pinned || said.contains("E0463")) {
        skip(&format!(
            "{compiler} does not build the init for {triple}: rustup target add {triple}"
        ));
        return None;
    }
    assert!(output.status.success(), "{said}");
    let program = target.join(&triple).join("release/microagent-init");
    // Another compiler gives other bytes; that it works has been seen.
    if is_pinned {
        let checked_in = fs::read(repository.join("src/guest/init").join(cpu)).expect("it is there");
        assert!(
            checked_in == fs::read(&program).expect("it was built"),
            "guest changed without `just init`"
        );
    }
    Some(program)
}

#[test]
fn the_sources_give_the_amd64_program_that_is_injected() {
    let Some(program) = built_as_checked_in("x86_64") else {
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
fn the_sources_give_the_arm64_program_that_is_injected() {
    built_as_checked_in("aarch64");
}
