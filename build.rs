//! Sets the commit and target that `microagent version` prints. No disk image depends on them.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = env::var("TARGET").expect("cargo names the target");
    println!("cargo::rustc-env=MICROAGENT_TARGET={target}");
    if let Some(commit) = commit() {
        println!("cargo::rustc-env=MICROAGENT_COMMIT={commit}");
    }
}

/// Returns the commit that is checked out here. A package from a registry returns `None`, even
/// inside another repository.
fn commit() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--verify", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
