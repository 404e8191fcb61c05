//! What the tests of the command have in common.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use support::single_image::Layout;

/// An image layout, and a directory for outputs beside it.
pub(crate) struct Scene {
    pub(crate) root: TempDir,
    pub(crate) layout: Layout,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("out")).unwrap();
        let layout = Layout::create(root.path().join("layout"));
        Self { root, layout }
    }

    /// A scene, and a reference to its good image of two layers.
    pub(crate) fn with_image() -> (Self, String) {
        let scene = Self::new();
        let lower = scene
            .layout
            .gzip_layer(&tar(&[("etc/hostname", b"lower\n"), ("etc/motd", b"welcome\n")]));
        let upper = scene.layout.gzip_layer(&tar(&[("etc/hostname", b"upper\n")]));
        let manifest = scene.layout.image(&[lower, upper]);
        let reference = scene.layout.pinned(&manifest);
        (scene, reference)
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.outputs().join("rootfs.ext4")
    }

    pub(crate) fn outputs(&self) -> PathBuf {
        self.root.path().join("out")
    }

    /// Names of all that is where the output belongs, hidden files too.
    pub(crate) fn left(&self) -> Vec<String> {
        names(&self.outputs())
    }

    /// `microagent rootfs build` of a reference, for linux/amd64.
    pub(crate) fn build(&self, reference: &str) -> Command {
        let mut command = microagent();
        command
            .args(["rootfs", "build", "--arch", "amd64", "--image", reference, "--out"])
            .arg(self.output());
        command.arg("--state-dir").arg(self.root.path().join("state"));
        command
    }
}

pub(crate) fn microagent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_microagent"));
    for variable in ["MICROAGENT_MODE", "MICROAGENT_OUTPUT", "RUST_LOG", "SOURCE_DATE_EPOCH"] {
        command.env_remove(variable);
    }
    command
}

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

/// What standard error says, but that a disk has no holes, which on Windows is the disk's matter.
pub(crate) fn complaints(output: &Output) -> Vec<&str> {
    let lines = stderr(output).lines();
    lines.filter(|line| !line.contains("takes all of its size")).collect()
}

/// The JSON object on a line of its own.
pub(crate) fn json(line: &str) -> Value {
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// The error of an operation that failed in AX mode.
pub(crate) fn failure(output: &Output) -> Value {
    failure_with(output, 1)
}

/// The same, of one that fails with another status.
pub(crate) fn failure_with(output: &Output, status: i32) -> Value {
    assert_eq!(output.status.code(), Some(status), "{}", stderr(output));
    assert_eq!(stdout(output), "");
    let failure = json(stderr(output));
    assert_eq!(failure["ok"], false);
    failure["error"].clone()
}
