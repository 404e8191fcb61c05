//! Modes of the files and directories in the state directory: only their owner has access.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::sources::rootfs_build;
use crate::sources::store::{image, tar};
use support::layout::{TestLayout, digest};
use support::server::{Reply, Server};

/// Runs a command with umask 0: files are open to every user unless the command sets their mode.
fn run_without_umask(command: &Command, input: &str) {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "umask 0; exec \"$@\"", "sh"])
        .arg(command.get_program());
    shell
        .args(command.get_args())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let mut child = shell.stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Returns a path and all paths below it.
fn walk(top: &Path) -> Vec<PathBuf> {
    let mut all = vec![top.to_owned()];
    if top.is_dir() {
        let below = fs::read_dir(top).unwrap();
        all.extend(below.flat_map(|entry| walk(&entry.unwrap().path())));
    }
    all
}

#[test]
fn state_directory_is_private() {
    let layout = TestLayout::new();
    let image = image(&layout, &["one"]);
    let server = Server::of(&layout, &image, |_, _| None);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut archive = GzEncoder::new(fs::File::create(path("root.tar.gz")).unwrap(), Compression::fast());
    archive.write_all(tar("one", 1000).as_bytes()).unwrap();
    archive.finish().unwrap();

    fs::create_dir(path("given")).unwrap();
    fs::set_permissions(path("given"), fs::Permissions::from_mode(0o755)).unwrap();
    let state = path("given/new/state");
    let registry = server.reference(&format!("@{}", digest(&image)));
    let tarball = format!("tar:{}", path("root.tar.gz").display());
    for (reference, input) in [(&*registry, ""), (&tarball, ""), ("tar:-", &*tar("two", 1000))] {
        let mut build = rootfs_build(reference, &path("out"), &state);
        build.args(["--allow-mutable", "--keep-unpacked"]);
        run_without_umask(&build, input);
    }
    assert_eq!(
        mode(&path("given")),
        0o755,
        "the mode of an existing directory does not change"
    );
    let created = walk(&path("given/new"));
    for name in ["state", "tmp", "blobs", "sha256", "locks", "incoming"] {
        assert!(created.iter().any(|path| path.ends_with(name)), "{name}: {created:?}");
    }
    let (directories, files): (Vec<_>, Vec<_>) = created.iter().partition(|path| path.is_dir());
    assert!(files.len() > 4, "blobs and locks: {files:?}");
    for directory in directories {
        assert_eq!(mode(directory), 0o700, "{}", directory.display());
    }
    for file in files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
}

#[test]
fn login_directory_is_private() {
    let server = Server::start(|_, _| Reply::status(200));
    let home = tempfile::tempdir().unwrap();
    let mut login = Command::new(env!("CARGO_BIN_EXE_microagent"));
    login.args([
        "registry",
        "login",
        &server.address.to_string(),
        "-u",
        "me",
        "--password-stdin",
    ]);
    login.env("HOME", home.path()).env_remove("REGISTRY_AUTH_FILE");
    run_without_umask(&login, "secret");
    assert_eq!(mode(&home.path().join(".microagent")), 0o700);
    for file in ["auth.json", "auth.json.lock"] {
        assert_eq!(mode(&home.path().join(".microagent").join(file)), 0o600);
    }
}
