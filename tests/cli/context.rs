//! The image, the directories and the helpers that the tests of the command share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use support::single_image::Layout;

/// An image layout, and a directory for outputs beside it. Both are removed when it is dropped.
pub(crate) struct Context {
    pub(crate) root: TempDir,
    pub(crate) layout: Layout,
}

impl Context {
    pub(crate) fn new() -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("out")).unwrap();
        let layout = Layout::create(root.path().join("layout"));
        Self { root, layout }
    }

    /// Returns a context, and a reference to a valid image of two layers in its layout.
    pub(crate) fn with_image() -> (Self, String) {
        let context = Self::new();
        let lower = context
            .layout
            .gzip_layer(&tar(&[("etc/hostname", b"lower\n"), ("etc/motd", b"welcome\n")]));
        let upper = context.layout.gzip_layer(&tar(&[("etc/hostname", b"upper\n")]));
        let manifest = context.layout.image(&[lower, upper]);
        let reference = context.layout.pinned(&manifest);
        (context, reference)
    }

    /// Returns the path of the disk image to build.
    pub(crate) fn output(&self) -> PathBuf {
        self.outputs().join("rootfs.ext4")
    }

    /// Returns the directory for outputs.
    pub(crate) fn outputs(&self) -> PathBuf {
        self.root.path().join("out")
    }

    /// Returns the names in the directory for outputs, hidden ones included, in ascending order.
    pub(crate) fn output_names(&self) -> Vec<String> {
        names(&self.outputs())
    }

    /// Returns the command `microagent rootfs build` for a reference and linux/amd64.
    pub(crate) fn build(&self, reference: &str) -> Command {
        let mut command = microagent();
        command
            .args(["rootfs", "build", "--arch", "amd64", "--image", reference, "--out"])
            .arg(self.output());
        command.arg("--state-dir").arg(self.root.path().join("state"));
        command
    }
}

/// Returns the command `microagent`, without environment variables that change its output.
pub(crate) fn microagent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_microagent"));
    for variable in ["MICROAGENT_MODE", "MICROAGENT_OUTPUT", "RUST_LOG", "SOURCE_DATE_EPOCH"] {
        command.env_remove(variable);
    }
    command
}

/// Returns a tar of files, with mode 0644.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Returns the names in a directory in ascending order.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

/// Returns the lines of standard error, except for the warning that the disk image has no holes: on
/// Windows, that depends on the disk.
pub(crate) fn stderr_lines(output: &Output) -> Vec<&str> {
    let lines = stderr(output).lines();
    lines.filter(|line| !line.contains("takes all of its size")).collect()
}

/// Parses a JSON object on one line, which ends with a newline.
pub(crate) fn json(line: &str) -> Value {
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Returns the error of a command that failed with status 1 in AX mode.
pub(crate) fn failure(output: &Output) -> Value {
    failure_with(output, 1)
}

/// Returns the error of a command that failed with this status in AX mode.
pub(crate) fn failure_with(output: &Output, status: i32) -> Value {
    assert_eq!(output.status.code(), Some(status), "{}", stderr(output));
    assert_eq!(stdout(output), "");
    let failure = json(stderr(output));
    assert_eq!(failure["ok"], false);
    failure["error"].clone()
}
