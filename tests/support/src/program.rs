//! The command under test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

/// Root directory of the repository.
pub fn repository() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap()
}

/// Path of the program, from the variable that Cargo and nextest set for the tests of its package.
pub fn program() -> PathBuf {
    let path = env::var_os("CARGO_BIN_EXE_microagent");
    path.expect("cargo or nextest runs the test").into()
}

/// Directory for large files, in the target directory: `CARGO_TARGET_TMPDIR`.
pub fn target_directory() -> PathBuf {
    let program = program();
    let path = program.ancestors().nth(2).unwrap().join("tmp");
    fs::create_dir_all(&path).unwrap();
    path
}

/// Path of a layout that `tests/rig/make-images.sh` makes, in `images` of [`rig_directory`].
pub fn rig_image(name: &str) -> PathBuf {
    rig_directory().join("images").join(name)
}

/// Directory that the scripts of `tests/rig` write to: `$RIG`, or `target/rig` if that is unset.
pub fn rig_directory() -> PathBuf {
    env::var_os("RIG").map_or_else(|| repository().join("target/rig"), PathBuf::from)
}

/// Path of the sample image's layout, in the repository.
pub fn sample() -> PathBuf {
    repository().join("examples/hello")
}

/// Reference to the tag `latest` of a layout.
pub fn latest(layout: &Path) -> String {
    format!("oci:{}:latest", layout.display())
}

/// Command `microagent rootfs build` without an init, with the state directory beside the output.
pub fn rootfs_build(image: &str, architecture: &str, out: &Path) -> Command {
    let mut command = Command::new(program());
    command.args(["--json", "rootfs", "build", "--allow-mutable", "--init", "none"]);
    command.args(["--image", image, "--arch", architecture]);
    command.arg("--out").arg(out);
    command.arg("--state-dir").arg(out.with_extension("state"));
    command
}

/// Builds the sample image as `sample.ext4` in a directory, for tests that damage it.
pub fn sample_image(directory: &Path) -> PathBuf {
    let image = directory.join("sample.ext4");
    succeed(rootfs_build(&latest(&sample()), "amd64", &image).args(["--size-mib", "64"]));
    image
}

/// Runs a command that must succeed, and returns its output.
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
