//! Machines for tests: builds an image, boots it in QEMU, and returns the console output.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use support::program::{program, repository, target_directory};
use support::single_image::Layout;
use support::skip::skip;
use support::tar::Entry;
use support::tools;

/// A processor architecture, and the kernels to boot on it.
#[derive(Clone, Copy)]
pub(crate) struct Architecture {
    name: &'static str,
    /// Debian's packages of kernels. Every run boots the first.
    packages: &'static [&'static str],
}

/// Linux 6.12, then 6.1.
pub(crate) const AMD64: Architecture = Architecture {
    name: "amd64",
    packages: &["linux-image-6.12-cloud-amd64", "linux-image-cloud-amd64"],
};
/// Linux 6.1, then 6.12.
pub(crate) const ARM64: Architecture = Architecture {
    name: "arm64",
    packages: &["linux-image-cloud-arm64", "linux-image-6.12-cloud-arm64"],
};

impl Architecture {
    /// Returns the kernels to boot: the first, or both where `BOOT_EVERY_KERNEL=1`.
    pub(crate) fn kernels(self) -> &'static [&'static str] {
        let every = env::var_os("BOOT_EVERY_KERNEL").is_some_and(|value| value == "1");
        if every { self.packages } else { &self.packages[..1] }
    }
}

/// A disk image in a temporary directory, and the architecture of the machines that boot it.
pub(crate) struct Disk {
    pub(crate) scratch: TempDir,
    pub(crate) architecture: Architecture,
}

impl Disk {
    /// Makes a directory for a disk image. Returns `None`, and prints the reason on stderr, if a
    /// kernel is missing.
    pub(crate) fn new(architecture: Architecture) -> Option<Self> {
        for kernel in architecture.kernels() {
            if !cache().join(kernel).join("initramfs").is_file() {
                skip(&format!("{kernel} is missing: `just machines` downloads it"));
                return None;
            }
        }
        let scratch = TempDir::new_in(target_directory()).unwrap();
        Some(Self { scratch, architecture })
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.scratch.path().join("machine.ext4")
    }

    /// Builds the disk image, which must succeed and be clean.
    pub(crate) fn build(&self, reference: &str, arguments: &[&OsStr]) {
        let output = Command::new(program())
            .args([
                "rootfs",
                "build",
                "--arch",
                self.architecture.name,
                "--image",
                reference,
            ])
            .arg("--out")
            .arg(self.image())
            .arg("--state-dir")
            .arg(self.scratch.path().join("state"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        tools::assert_clean(&self.image(), "the disk");
    }

    /// Boots the disk image, with the first kernel unless an argument names another, and returns
    /// the console output. Changes to the disk are lost unless an argument is `--write`.
    pub(crate) fn boot(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = boot_script()
            .arg(self.image())
            .args(["--kernel", self.architecture.packages[0]])
            .args(arguments)
            .output()
            .unwrap();
        let console = String::from_utf8_lossy(&stdout).into_owned();
        assert!(
            status.success(),
            "{status}\n{console}{}",
            String::from_utf8_lossy(&stderr)
        );
        console
    }

    /// Boots the disk image, keeps the changes to it, and checks the file system afterwards.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let console = self.boot(&[&["--write"], arguments].concat());
        tools::assert_clean_after_boot(&self.image(), "the disk");
        console
    }

    /// Boots the disk image, keeps the changes to it, and cuts the power at the marker. The journal
    /// must then have transactions to replay.
    pub(crate) fn cut_power(&self, marker: &str, arguments: &[&str]) {
        self.boot(&[&["--write", "--cut", "--marker", marker], arguments].concat());
        let superblock = &fs::read(self.image()).unwrap()[1024..2048];
        // s_feature_incompat, EXT4_FEATURE_INCOMPAT_RECOVER
        assert_eq!(superblock[0x60] & 4, 4, "the journal has nothing to replay");
    }
}

/// An OCI image to build: its files, with busybox among them.
pub(crate) struct Machine {
    pub(crate) disk: Disk,
    pub(crate) entries: Vec<Entry>,
}

impl Machine {
    /// Returns an image with busybox under these names. Returns `None`, and prints the reason on
    /// stderr, if a kernel is missing.
    pub(crate) fn with(architecture: Architecture, names: &[&str]) -> Option<Self> {
        let mut machine = Self {
            disk: Disk::new(architecture)?,
            entries: Vec::new(),
        };
        let directory = format!("busybox-{}", architecture.name);
        let busybox = fs::read(cache().join(directory).join("bin/busybox")).unwrap();
        let [first, others @ ..] = names else { panic!("no name") };
        machine.program(first, &busybox);
        machine
            .entries
            .extend(others.iter().map(|name| Entry::hard_link(name, first)));
        Some(machine)
    }

    /// Returns an image with a shell and the programs that tests use.
    pub(crate) fn with_shell(architecture: Architecture) -> Option<Self> {
        Self::with(
            architecture,
            &[
                "bin/busybox",
                "bin/sh",
                "bin/cat",
                "bin/dd",
                "bin/grep",
                "bin/hostname",
                "bin/id",
                "bin/kill",
                "bin/ls",
                "bin/od",
                "bin/nc",
                "bin/poweroff",
                "bin/sleep",
                "bin/tr",
                "bin/mount",
                "bin/sync",
                "bin/touch",
            ],
        )
    }

    pub(crate) fn program(&mut self, name: &str, content: &[u8]) {
        self.entries.push(Entry {
            mode: 0o755,
            ..Entry::file(name, content)
        });
    }

    pub(crate) fn file(&mut self, name: &str, content: &[u8]) {
        self.entries.push(Entry::file(name, content));
    }

    /// Builds the disk image, with this section `config` of the OCI config.
    pub(crate) fn build(self, execution: &Value, arguments: &[&OsStr]) -> Disk {
        let layout = Layout::create(self.disk.scratch.path().join("layout"));
        let tar: Vec<u8> = self.entries.iter().flat_map(Entry::bytes).chain([0; 1024]).collect();
        let layers = [layout.gzip_layer(&tar)];
        let digest = layout.image_for(self.disk.architecture.name, &layers, execution);
        let size: [&OsStr; 2] = ["--size-mib".as_ref(), "64".as_ref()];
        self.disk.build(&layout.pinned(&digest), &[&size, arguments].concat());
        self.disk
    }
}

/// Returns the directory of downloaded kernels and programs.
fn cache() -> PathBuf {
    env::var_os("BOOT_CACHE").map_or_else(|| repository().join("target/boot"), PathBuf::from)
}

/// Returns the script that boots disk images.
fn boot_script() -> Command {
    let mut command = Command::new(repository().join("tests/rig/boot-rootfs.sh"));
    command.env("BOOT_CACHE", cache());
    command
}

/// Returns the rest of the only line that begins with `start`.
pub(crate) fn rest_of_line<'a>(console: &'a str, start: &str) -> &'a str {
    let lines: Vec<_> = console.lines().filter_map(|line| line.strip_prefix(start)).collect();
    let [line] = lines[..] else {
        panic!("{} lines begin with {start:?}:\n{console}", lines.len())
    };
    line
}

/// Returns the end of the command as the init prints it, such as `status=0` or `signal=9`.
pub(crate) fn command_end(console: &str) -> &str {
    rest_of_line(console, "microagent-init: exit ")
}

/// Formats strings as /proc shows them, each with a NUL, in hexadecimal.
pub(crate) fn hex(strings: &[&[u8]]) -> String {
    let mut text = String::new();
    for byte in strings.iter().flat_map(|string| string.iter().chain(&[0])) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}
