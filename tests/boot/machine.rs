//! Images on their way into machines, and what those say.

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

/// What machines are made of.
#[derive(Clone, Copy)]
pub(crate) struct Architecture {
    name: &'static str,
    /// Debian's packages of kernels: the one that every run boots, and the other.
    packages: &'static [&'static str],
}

/// Linux 6.12, and 6.1.
pub(crate) const AMD64: Architecture = Architecture {
    name: "amd64",
    packages: &["linux-image-6.12-cloud-amd64", "linux-image-cloud-amd64"],
};
/// Linux 6.1, and 6.12.
pub(crate) const ARM64: Architecture = Architecture {
    name: "arm64",
    packages: &["linux-image-cloud-arm64", "linux-image-6.12-cloud-arm64"],
};

impl Architecture {
    /// Kernels to boot: one, or both where `BOOT_EVERY_KERNEL=1`.
    pub(crate) fn kernels(self) -> &'static [&'static str] {
        let every = env::var_os("BOOT_EVERY_KERNEL").is_some_and(|value| value == "1");
        if every { self.packages } else { &self.packages[..1] }
    }
}

/// A disk image, and the machines that it boots.
pub(crate) struct Disk {
    pub(crate) scratch: TempDir,
    pub(crate) architecture: Architecture,
}

impl Disk {
    /// A place for one; `None`, with the reason on stderr, where nothing can boot.
    pub(crate) fn new(architecture: Architecture) -> Option<Self> {
        for kernel in architecture.kernels() {
            if !cache().join(kernel).join("initramfs").is_file() {
                skip(&format!("there is no {kernel} to boot: `just machines` fetches it"));
                return None;
            }
        }
        let scratch = TempDir::new_in(target_directory()).unwrap();
        Some(Self { scratch, architecture })
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.scratch.path().join("machine.ext4")
    }

    /// Builds the image, which must succeed and be clean.
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

    /// Boots it, under the first kernel unless told otherwise, and returns what was on the console.
    pub(crate) fn boot(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = rig()
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

    /// Boots it in earnest, and checks what it leaves.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let console = self.boot(&[&["--write"], arguments].concat());
        tools::assert_clean_after_boot(&self.image(), "the disk");
        console
    }

    /// Boots it in earnest, and takes the power away at the marker, when the journal must have something to replay.
    pub(crate) fn cut(&self, marker: &str, arguments: &[&str]) {
        self.boot(&[&["--write", "--cut", "--marker", marker], arguments].concat());
        let superblock = &fs::read(self.image()).unwrap()[1024..2048];
        // s_feature_incompat, EXT4_FEATURE_INCOMPAT_RECOVER
        assert_eq!(superblock[0x60] & 4, 4, "the journal has something to replay");
    }
}

/// An image of the test's own making: files around busybox, and how it is run.
pub(crate) struct Machine {
    pub(crate) disk: Disk,
    pub(crate) entries: Vec<Entry>,
}

impl Machine {
    /// One with busybox under these names; `None`, with the reason on stderr, where nothing can boot.
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

    /// One with a shell.
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

    /// The disk of the image when it is run as this says.
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

fn cache() -> PathBuf {
    env::var_os("BOOT_CACHE").map_or_else(|| repository().join("target/boot"), PathBuf::from)
}

fn rig() -> Command {
    let mut command = Command::new(repository().join("tests/rig/boot-rootfs.sh"));
    command.env("BOOT_CACHE", cache());
    command
}

/// How the only line that begins so goes on.
pub(crate) fn line<'a>(console: &'a str, start: &str) -> &'a str {
    let lines: Vec<_> = console.lines().filter_map(|line| line.strip_prefix(start)).collect();
    let [line] = lines[..] else {
        panic!("{} lines begin with {start:?}:\n{console}", lines.len())
    };
    line
}

/// How the command ended.
pub(crate) fn end(console: &str) -> &str {
    line(console, "microagent-init: exit ")
}

/// Strings as /proc shows them, each with a NUL, in hexadecimal.
pub(crate) fn hex(strings: &[&[u8]]) -> String {
    let mut text = String::new();
    for byte in strings.iter().flat_map(|string| string.iter().chain(&[0])) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}
