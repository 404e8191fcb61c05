//! A directory of another user, what it must not lead to, and the attacks.

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
/// Name of a program in the image that has the set-uid bit.
pub(crate) const SETUID: &str = "su";
const CONTENT: &str = "root's";

/// Puts something in the place of a path.
pub(crate) type Put = fn(&Scene, &Path);

/// A directory of the attacker's, in which root builds, and one of root's beside it.
pub(crate) struct Scene {
    oracles: Oracles,
}

impl Scene {
    pub(crate) fn new() -> Option<Self> {
        let oracles = Oracles::find()?;
        let scene = Self { oracles };
        fs::create_dir(scene.directory()).unwrap();
        give_away(&scene.directory());
        fs::create_dir(scene.victim()).unwrap();
        // Names of what a build writes: of the image's entries, and of files of its own.
        for name in [SETUID, "image", "image.ext4", "image.ext4.stage.mtree"] {
            fs::write(scene.victim().join(name), CONTENT).unwrap();
            fs::set_permissions(scene.victim().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let layout = Layout::create(scene.oracles.scratch().join("layout"));
        let mut program = Entry::file(SETUID, "#!/bin/sh\n");
        program.mode = 0o4755;
        layout.image(&[layout.gzip_layer(&archive(&[program, Entry::directory("etc")]))]);
        Some(scene)
    }

    /// The attacker's directory.
    pub(crate) fn directory(&self) -> PathBuf {
        self.oracles.scratch().join("theirs")
    }

    /// The output of a build there.
    pub(crate) fn output(&self) -> PathBuf {
        self.directory().join("image.ext4")
    }

    fn victim(&self) -> PathBuf {
        self.oracles.scratch().join("roots")
    }

    /// Builds as root to the attacker's directory, and lets 0.1 s pass after each of the system calls.
    pub(crate) fn build(&self, slow: &str, arguments: &[&str], attack: impl Fn(&Self) + Sync) -> Output {
        let mut command = Command::new("strace");
        command.args(["-f", "-qqq", "-o", "/dev/null", "-e", &format!("trace={slow}")]);
        command.args(["-e", &format!("inject={slow}:delay_exit=100000")]);
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

    /// Asserts that nothing of root's was changed.
    pub(crate) fn assert_harmless(&self, attack: &str, output: &Output) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code().is_some_and(|code| code <= 1),
            "{attack}: {}, {said}",
            output.status
        );
        assert!(!said.contains("panicked"), "{attack}: {said}");
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

    /// Puts something else in the place of each hidden file or directory that appears, once.
    pub(crate) fn swap(&self, put: impl Fn(&Self, &Path)) {
        for name in names(&self.directory()) {
            let text = name.to_string_lossy();
            let path = self.directory().join(&name);
            if !text.ends_with(".partial") || fs::symlink_metadata(&path).map_or(NOBODY, |file| file.uid()) == NOBODY {
                continue;
            }
            if fs::rename(&path, self.directory().join(format!("{text}.stolen"))).is_ok() {
                put(self, &path);
            }
        }
    }

    /// A symlink of the attacker's to root's directory.
    pub(crate) fn put_symlink(&self, path: &Path) {
        let _ = symlink(self.victim(), path);
        give_away(path);
    }

    /// A symlink of the attacker's to a file of root's.
    pub(crate) fn put_symlink_to_file(&self, path: &Path) {
        let _ = symlink(self.victim().join("image"), path);
        give_away(path);
    }

    /// A directory of the attacker's, with symlinks to root's files.
    pub(crate) fn put_directory(&self, path: &Path) {
        let made = path.with_extension("made");
        fs::create_dir(&made).unwrap();
        for name in names(&self.victim()) {
            symlink(self.victim().join(&name), made.join(&name)).unwrap();
            give_away(&made.join(&name));
        }
        give_away(&made);
        let _ = fs::rename(&made, path);
    }

    /// An empty directory of the attacker's, in which each file that appears is replaced by a symlink.
    pub(crate) fn put_trap(&self, path: &Path) {
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

pub(crate) fn give_away(path: &Path) {
    let _ = lchown(path, Some(NOBODY), Some(NOBODY));
}

pub(crate) fn names(directory: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(directory).unwrap();
    entries.flatten().map(|entry| entry.file_name()).collect()
}
