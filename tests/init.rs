//! The init's programs that are in the repository are what its sources give.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use support::skip::skip;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Runs a command in the directory of the sources, without flags from outside.
fn run(command: &mut Command) -> Output {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/init");
    for variable in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
    ] {
        command.env_remove(variable);
    }
    command.current_dir(sources).output().expect("the command can be run")
}

#[test]
fn the_sources_give_the_program_that_is_injected() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("init");
    let build = [
        "build",
        "--release",
        "--locked",
        "--offline",
        "--target",
        TARGET,
        "--target-dir",
    ];
    let output = run(Command::new(env!("CARGO")).args(build).arg(&target));
    let compiler = String::from_utf8(run(Command::new("rustc").arg("--version")).stdout).expect("a version is text");
    let pinned = fs::read_to_string(repository.join("guest/init/rust-toolchain.toml")).expect("it is there");
    let is_pinned = compiler
        .split_whitespace()
        .nth(1)
        .is_some_and(|version| pinned.contains(&format!("\"{version}\"")));
    if !output.status.success() && !is_pinned {
        return skip(&format!("{compiler} does not build the init"));
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let program = target.join(TARGET).join("release/microagent-init");
    let output = run(&mut Command::new(&program));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "microagent-init: has to be the first process of a machine\n"
    );
    // Another compiler gives other bytes; that it works has been seen.
    if is_pinned {
        let checked_in = fs::read(repository.join("src/guest/init/x86_64")).expect("it is there");
        assert!(
            checked_in == fs::read(&program).expect("it was built"),
            "guest/init changed without `just init`"
        );
    }
}
