//! The command under test.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::oracles::succeed;

/// The image that ships with the repository.
pub(crate) fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hello")
}

/// The reference of a layout's `latest`.
pub(crate) fn latest(layout: &Path) -> String {
    format!("oci:{}:latest", layout.display())
}

/// `microagent rootfs build` of what is in the image and nothing else, with its temporary files beside the output.
pub(crate) fn rootfs_build(image: &str, architecture: &str, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_microagent"));
    command.args(["--json", "rootfs", "build", "--allow-mutable", "--init", "none"]);
    command.args(["--image", image, "--arch", architecture]);
    command.arg("--out").arg(out);
    command.arg("--state-dir").arg(out.with_extension("state"));
    command
}

/// An image of the sample, for tests that spoil it.
pub(crate) fn sample_image(directory: &Path) -> PathBuf {
    let image = directory.join("sample.ext4");
    succeed(rootfs_build(&latest(&sample()), "amd64", &image).args(["--size-mib", "64"]));
    image
}
