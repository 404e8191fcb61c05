//! The directory of the hostile user, the files of root that must not change, and the attacks.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use support::oracles::Oracles;
use support::program::program;
use support::single_image::Layout;
use support::tar::{Entry, archive};

/// User and group of the attacker.
const NOBODY: u32 = 65534;
/// Name of a set-user-ID program in the image.
pub(crate) const SETUID: &str = "su";
/// Content of root's files.
const CONTENT: &str = "root's";

/// An attack: creates something at a path from which a file was moved away.
pub(crate) type Attack = fn(&Context, &Path);

/// The attacker's directory, in which root builds, and root's directory beside it.
pub(crate) struct Context {
    oracles: Oracles,
}

impl Context {
    /// Creates both directories; `None` if a tool is missing.
    pub(crate) fn new() -> Option<Self> {
        let oracles = Oracles::find()?;
        let context = Self { oracles };
        fs::create_dir(context.directory()).unwrap();
        give_away(&context.directory());
        fs::create_dir(context.victim()).unwrap();
        // Names that a build writes: of entries of the image, and of its own files.
        for name in [SETUID, "image", "image.ext4", "image.ext4.stage.mtree"] {
            fs::write(context.victim().join(name), CONTENT).unwrap();
            fs::set_permissions(context.victim().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let layout = Layout::create(context.oracles.scratch().join("layout"));
        let mut program = Entry::file(SETUID, "#!/bin/sh\n");
        program.mode = 0o4755;
        layout.image(&[layout.gzip_layer(&archive(&[program, Entry::directory("etc")]))]);
        Some(context)
    }

    /// Returns the path of the attacker's directory.
    pub(crate) fn directory(&self) -> PathBuf {
        self.oracles.scratch().join("theirs")
    }

    /// Returns the path of the build's output, in the attacker's directory.
    pub(crate) fn output(&self) -> PathBuf {
        self.directory().join("image.ext4")
    }

    /// Returns the path of root's directory.
    fn victim(&self) -> PathBuf {
        self.oracles.scratch().join("roots")
    }

    /// Builds as root into the attacker's directory while `attack` runs repeatedly. Each of the
    /// `delayed` system calls, separated by commas, returns 0.1 s late.
    pub(crate) fn build(&self, delayed: &str, arguments: &[&str], attack: impl Fn(&Self) + Sync) -> Output {
        let mut command = Command::new("strace");
        command.args(["-f", "-qqq", "-o", "/dev/null", "-e", &format!("trace={delayed}")]);
        command.args(["-e", &format!("inject={delayed}:delay_exit=100000")]);
        command.arg(program());
        command.args([
            "--json",
            "rootfs",
            "build",
            "--allow-mutable",
            "--init=none",
            "--arch=amd64",
        ]);
        let layout = self.oracles.scratch().join("layout");
        command.arg("--image").arg(format!("oci:{}", layout.display()));
        command.arg("--out").arg(self.output());
        command.arg("--state-dir").arg(self.oracles.scratch().join("state"));
        command.args(arguments);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    attack(self);
                }
            });
            let output = command.output();
            done.store(true, Ordering::Relaxed);
            output.unwrap()
        })
    }

    /// Asserts that the build ended without a panic, and that root's files did not change.
    pub(crate) fn assert_harmless(&self, attack: &str, output: &Output) {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code().is_some_and(|code| code <= 1),
            "{attack}: {}, {stderr}",
            output.status
        );
        assert!(!stderr.contains("panicked"), "{attack}: {stderr}");
        let victim = self.victim();
        assert_eq!(names(&victim).len(), 4, "{attack}: {:?}", names(&victim));
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&victim), 0o755, "{attack}");
        for name in names(&victim) {
            let path = victim.join(name);
            assert_eq!(
                fs::read_to_string(&path).unwrap(),
                CONTENT,
                "{attack}: {}",
                path.display()
            );
            assert_eq!(mode(&path), 0o600, "{attack}: {}", path.display());
        }
    }

    /// Moves each new temporary file or directory of root away, and calls `attack` with its path.
    pub(crate) fn swap(&self, attack: impl Fn(&Self, &Path)) {
        for name in names(&self.directory()) {
            let text = name.to_string_lossy();
            let path = self.directory().join(&name);
            if !text.ends_with(".partial") || fs::symlink_metadata(&path).map_or(NOBODY, |file| file.uid()) == NOBODY {
                continue;
            }
            if fs::rename(&path, self.directory().join(format!("{text}.stolen"))).is_ok() {
                attack(self, &path);
            }
        }
    }

    /// Creates a symlink to root's directory.
    pub(crate) fn create_symlink(&self, path: &Path) {
        let _ = symlink(self.victim(), path);
        give_away(path);
    }

    /// Creates a symlink to a file of root.
    pub(crate) fn create_symlink_to_file(&self, path: &Path) {
        let _ = symlink(self.victim().join("image"), path);
        give_away(path);
    }

    /// Creates a directory of symlinks to root's files.
    pub(crate) fn create_directory_of_symlinks(&self, path: &Path) {
        let temporary = path.with_extension("temporary");
        fs::create_dir(&temporary).unwrap();
        for name in names(&self.victim()) {
            symlink(self.victim().join(&name), temporary.join(&name)).unwrap();
            give_away(&temporary.join(&name));
        }
        give_away(&temporary);
        let _ = fs::rename(&temporary, path);
    }

    /// Creates an empty directory, and replaces the set-user-ID program by a symlink to root's file
    /// as soon as it appears there.
    pub(crate) fn create_trap(&self, path: &Path) {
        let _ = fs::create_dir(path);
        give_away(path);
        for _ in 0..1_000_000 {
            let file = path.join(SETUID);
            if fs::symlink_metadata(&file).is_ok() {
                let _ = fs::remove_file(&file);
                let _ = symlink(self.victim().join(SETUID), &file);
                return;
            }
        }
    }
}

/// Changes the owner of a file, but not of a symlink's target, to the attacker.
pub(crate) fn give_away(path: &Path) {
    let _ = lchown(path, Some(NOBODY), Some(NOBODY));
}

/// Returns the names in a directory.
pub(crate) fn names(directory: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(directory).unwrap();
    entries.flatten().map(|entry| entry.file_name()).collect()
}
