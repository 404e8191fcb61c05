//! Tests that directory, time zone, locale, umask, user and file system do not change the bytes of
//! an image that the command builds.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::golden::{Image, StoredImage, table};
use support::layout::digest;
use support::server::Server;
use support::skip::skip;
use support::wait::eventually;

/// The case that is built in each environment, as [`Image`] and as arguments.
const CASE: &str = "everything/gzip";
const ARGUMENTS: [&str; 8] = [
    "--json",
    "--digest",
    "--init",
    "none",
    "--free-mib",
    "10",
    "--arch",
    "amd64",
];

/// Returns the image of the case.
fn stored() -> StoredImage {
    let cases = crate::golden::cases();
    let case = cases.iter().find(|case| case.name == CASE).unwrap();
    let Image::Stack(..) = case.image else {
        panic!("{CASE} is not a stack");
    };
    case.image.store()
}

/// Adds the arguments of a build, with the output and temporary files in a directory.
fn rootfs_build<'a>(command: &'a mut Command, reference: &str, directory: &Path) -> &'a mut Command {
    command.args(["rootfs", "build"]).args(ARGUMENTS);
    command.args(["--image", reference, "--out"]).arg(directory.join("out"));
    command.arg("--state-dir").arg(directory.join("state"))
}

/// Runs a build. The digest in its report and the digest of its file must be that of the table.
fn check(command: &mut Command, directory: &Path) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    table::check_one(CASE, report["output_digest"].as_str().unwrap());
    table::check_one(CASE, &crate::golden::sha256(&fs::read(directory.join("out")).unwrap()));
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_microagent"))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

#[test]
fn directory_time_zone_locale_and_umask_do_not_matter() {
    let stored = stored();
    for (umask, time_zone, locale) in [
        ("077", "Pacific/Kiritimati", "C"),
        ("000", "America/Lima", "tr_TR.UTF-8"),
    ] {
        let root = TempDir::new().unwrap();
        let directory = root.path().join("directory with a name of its own \u{e9}");
        fs::create_dir(&directory).unwrap();
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("umask {umask}; exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_microagent"))
            .current_dir(&directory)
            .env("TZ", time_zone)
            .env("LANG", locale)
            .env("LC_ALL", locale)
            .env("HOME", "/nowhere")
            .env("TMPDIR", &directory);
        check(
            rootfs_build(&mut command, &stored.reference(), Path::new("")),
            &directory,
        );
    }
}

#[test]
fn the_user_does_not_matter() {
    if !is_root() {
        return skip("only root can become another user");
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        return skip("setpriv is not installed");
    }
    let root = TempDir::new().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = root.path().join("microagent");
    fs::copy(env!("CARGO_BIN_EXE_microagent"), &program).unwrap();
    let directory = root.path().join("nobody's");
    fs::create_dir(&directory).unwrap();
    chown(&directory, Some(65_534), Some(65_534)).unwrap();
    let stored = stored();
    for path in [&stored.directory, &stored.directory.join("blobs")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(program).env_remove("HOME");
    check(rootfs_build(&mut command, &stored.reference(), &directory), &directory);
}

/// A mounted file system, which is unmounted when this is dropped.
struct MountedFileSystem {
    root: TempDir,
    device: Option<String>,
}

impl MountedFileSystem {
    fn path(&self) -> PathBuf {
        self.root.path().join("mounted")
    }

    /// Mounts a ramfs, which has no holes.
    fn ramfs() -> Self {
        let mounted = Self::prepare(None);
        succeed(Command::new("mount").args(["-t", "ramfs", "ramfs"]).arg(mounted.path()));
        mounted
    }

    /// Mounts an exFAT, which has no holes, and treats `a` and `A` as the same name.
    fn exfat() -> Self {
        let root = TempDir::new().unwrap();
        let file = root.path().join("exfat");
        fs::File::create(&file).unwrap().set_len(512 << 20).unwrap();
        succeed(Command::new("mkfs.exfat").arg(&file));
        let device = succeed(Command::new("losetup").args(["--find", "--show"]).arg(&file));
        // The loop device keeps the file after its name is removed.
        let mounted = Self::prepare(Some(device.trim().to_owned()));
        // exFAT has no modes: without this option, other users could change all files.
        let mut mount = Command::new("mount.exfat-fuse");
        succeed(mount.args(["-o", "umask=022"]).arg(device.trim()).arg(mounted.path()));
        mounted
    }

    fn prepare(device: Option<String>) -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("mounted")).unwrap();
        Self { root, device }
    }
}

impl Drop for MountedFileSystem {
    fn drop(&mut self) {
        // Processes that other tests have just started may keep it busy for a moment. After a
        // failure it may not be mounted, which umount reports at once.
        eventually(|| {
            let unmounted = Command::new("umount").arg(self.path()).output().unwrap();
            unmounted.status.success() || String::from_utf8_lossy(&unmounted.stderr).contains("not mounted")
        });
        if let Some(device) = &self.device {
            succeed(Command::new("losetup").args(["--detach", device]));
        }
    }
}

/// Runs a command, which must succeed, and returns its output.
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Builds with the downloads and the output on a file system.
fn check_on(mounted: &MountedFileSystem) {
    let stored = stored();
    let server = Server::of(stored.layout.as_ref().unwrap(), &stored.manifest, |_, _| None);
    let reference = server.reference(&format!("@{}", digest(&stored.manifest)));
    let directory = mounted.path();
    check(rootfs_build(&mut program(), &reference, &directory), &directory);
    assert!(directory.join("state/blobs").is_dir());
}

#[test]
fn a_file_system_without_holes_does_not_matter() {
    if !is_root() {
        return skip("only root can mount");
    }
    check_on(&MountedFileSystem::ramfs());
}

#[test]
fn a_case_insensitive_file_system_does_not_matter() {
    if !is_root() {
        return skip("only root can mount");
    }
    if !Path::new("/dev/fuse").exists() {
        return skip("the kernel has no FUSE");
    }
    for tool in ["mkfs.exfat", "mount.exfat-fuse"] {
        if Command::new(tool).arg("--version").output().is_err() {
            return skip(&format!("{tool} is not installed"));
        }
    }
    let mounted = MountedFileSystem::exfat();
    fs::write(mounted.path().join("case"), "").unwrap();
    assert!(mounted.path().join("CASE").exists());
    check_on(&mounted);
}
