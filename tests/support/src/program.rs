//! The command under test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

/// The repository.
pub fn repository() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap()
}

/// The program, which Cargo and nextest name to the tests of its package.
pub fn program() -> PathBuf {
    let path = env::var_os("CARGO_BIN_EXE_microagent");
    path.expect("cargo or nextest runs the test").into()
}

/// A directory for large files, in the target directory: `CARGO_TARGET_TMPDIR`.
pub fn target_directory() -> PathBuf {
    let program = program();
    let path = program.ancestors().nth(2).unwrap().join("tmp");
    fs::create_dir_all(&path).unwrap();
    path
}

/// A layout made by `tests/rig/make-images.sh`, in `$RIG/images`; `RIG` is `target/rig` if unset.
pub fn rig_image(name: &str) -> PathBuf {
    rig().join("images").join(name)
}

/// Directory of what the scripts of `tests/rig` make: `$RIG`, or `target/rig` if that is unset.
pub fn rig() -> PathBuf {
    env::var_os("RIG").map_or_else(|| repository().join("target/rig"), PathBuf::from)
}

/// The image that ships with the repository.
pub fn sample() -> PathBuf {
    repository().join("examples/hello")
}

/// The reference of a layout's `latest`.
pub fn latest(layout: &Path) -> String {
    format!("oci:{}:latest", layout.display())
}

/// `microagent rootfs build` without an init, with its state beside the output.
pub fn rootfs_build(image: &str, architecture: &str, out: &Path) -> Command {
    let mut command = Command::new(program());
    command.args(["--json", "rootfs", "build", "--allow-mutable", "--init", "none"]);
    command.args(["--image", image, "--arch", architecture]);
    command.arg("--out").arg(out);
    command.arg("--state-dir").arg(out.with_extension("state"));
    command
}

/// An image of the sample, for tests that spoil it.
pub fn sample_image(directory: &Path) -> PathBuf {
    let image = directory.join("sample.ext4");
    succeed(rootfs_build(&latest(&sample()), "amd64", &image).args(["--size-mib", "64"]));
    image
}

/// Runs a command that has to succeed.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}
