//! Files of other users of the host: a state directory, credentials or locks that another user
//! owns, can change, or has replaced by something else.
//!
//! They are refused with their owner and mode, and no file is changed through them.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use oci::Cache;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::sources::rootfs_build;
use crate::sources::store::{image, tar};
use support::layout::{TestLayout, digest};
use support::server::{Reply, Server};
use support::wait::eventually;

/// ID of another user.
const OTHER_USER: u32 = 65534;

/// `someone:pass` in base64.
const PAIR: &str = "c29tZW9uZTpwYXNz";

/// A state directory, a file that must not change, and a registry with an image of one layer.
struct Host {
    root: TempDir,
    _layout: TestLayout,
    server: Server,
    reference: String,
    /// Digest of the layer, in hexadecimal.
    layer: String,
}

impl Host {
    fn new() -> Self {
        let layout = TestLayout::new();
        let image = image(&layout, &["one"]);
        let layer = layout.blob("", tar("one", 100_000).as_bytes());
        let layer = digest(&layer).strip_prefix("sha256:").unwrap().to_owned();
        let server = Server::of(&layout, &image, |_, _| None);
        let host = Self {
            root: tempfile::tempdir().unwrap(),
            reference: server.reference(&format!("@{}", digest(&image))),
            _layout: layout,
            server,
            layer,
        };
        fs::write(host.victim(), "mine").unwrap();
        set_mode(&host.victim(), 0o640);
        for name in ["", "blobs", "blobs/sha256", "blobs/locks", "blobs/incoming", "tmp"] {
            fs::create_dir(host.state(name)).unwrap();
            set_mode(&host.state(name), 0o700);
        }
        host
    }

    /// Returns a path as error messages have it: without symlinks. The temporary directory of macOS
    /// is behind one.
    fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(&self.root).unwrap().join(name)
    }

    fn state(&self, name: &str) -> PathBuf {
        match name {
            "" => self.path("state"),
            name => self.path("state").join(name),
        }
    }

    fn victim(&self) -> PathBuf {
        self.path("victim")
    }

    fn assert_victim_unchanged(&self, context: &str) {
        assert_eq!(fs::read(self.victim()).unwrap(), b"mine", "{context}");
        assert_eq!(mode(&self.victim()), 0o640, "{context}");
    }

    fn build(&self) -> Command {
        let mut build = rootfs_build(&self.reference, &self.path("out"), &self.state(""));
        build.stdin(Stdio::null());
        build
    }

    /// Returns a build of a tar on standard input, which is spooled to an unnamed file.
    fn build_from_pipe(&self) -> Command {
        fs::write(self.path("root.tar"), tar("one", 1000)).unwrap();
        let mut build = rootfs_build("tar:-", &self.path("out"), &self.state(""));
        build
            .arg("--allow-mutable")
            .stdin(fs::File::open(self.path("root.tar")).unwrap());
        build
    }

    /// Returns a build that uses this directory of the state directory.
    fn build_with(&self, name: &str) -> Command {
        if name == "tmp" {
            self.build_from_pipe()
        } else {
            self.build()
        }
    }

    fn cache(&self, arguments: &[&str]) -> Command {
        let mut command = microagent(arguments);
        command.arg("--state-dir").arg(self.state(""));
        command
    }
}

fn microagent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_microagent"));
    command.args(arguments);
    for variable in ["REGISTRY_AUTH_FILE", "MICROAGENT_MODE", "MICROAGENT_OUTPUT"] {
        command.env_remove(variable);
    }
    command
}

fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Runs a command, and panics if it hangs.
fn run(command: &mut Command) -> Output {
    let mut child = spawn(command);
    if !eventually(|| child.try_wait().unwrap().is_some()) {
        child.kill().unwrap();
        panic!("the command hangs: {command:?}");
    }
    child.wait_with_output().unwrap()
}

/// Runs a command that has to fail, and returns its standard error.
fn refusal(command: &mut Command) -> String {
    let output = run(command);
    let stderr = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{command:?}: {stderr}");
    stderr
}

fn succeed(command: &mut Command) -> Output {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    output
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Changes the owner of a file, directory or symlink to another user. Returns whether that
/// succeeded: only root can.
fn give_away(path: &Path) -> bool {
    rustix::process::geteuid().is_root() && lchown(path, Some(OTHER_USER), None).is_ok()
}

/// Types of files that a regular file is replaced with.
const SPECIAL_FILES: [&str; 5] = ["symlink", "FIFO", "socket", "device", "directory"];

/// Creates a special file at a path. Returns whether that succeeded: only root can create devices.
fn create_special(kind: &str, path: &Path, victim: &Path) -> bool {
    match kind {
        "symlink" => symlink(victim, path).unwrap(),
        "directory" => fs::create_dir(path).unwrap(),
        // A socket's path has a maximum length, which this one may exceed.
        "socket" => {
            let short = victim.with_file_name("s");
            drop(UnixListener::bind(&short).unwrap());
            fs::rename(short, path).unwrap();
        }
        "FIFO" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        _ => {
            let mut mknod = Command::new("mknod");
            // /dev/zero, which has no end.
            mknod.arg(path).args(["c", "1", "5"]).stderr(Stdio::null());
            return mknod.status().is_ok_and(|status| status.success());
        }
    }
    true
}

#[test]
fn state_directory_that_others_can_change_is_refused_with_its_owner_and_mode() {
    for name in ["", "blobs", "blobs/sha256", "blobs/locks", "blobs/incoming", "tmp"] {
        for mode in [0o770, 0o702, 0o1777] {
            let host = Host::new();
            let path = host.state(name);
            set_mode(&path, mode);
            let stderr = refusal(&mut host.build_with(name));
            let owner = fs::metadata(&path).unwrap().uid();
            let reason = format!("can be changed by other users (mode {mode:04o}, of user {owner})");
            assert!(stderr.contains(&reason), "{stderr}");
            assert!(stderr.contains(&format!("{}", path.display())), "{stderr}");
            assert!(stderr.contains("--state-dir"), "{stderr}");
            assert_eq!(
                stderr.contains(&format!("chmod go-w {}", path.display())),
                mode != 0o1777,
                "{stderr}"
            );
            assert!(!host.path("out").exists());
            set_mode(&path, 0o755);
            succeed(&mut host.build_with(name));
        }
    }
}

#[test]
fn state_directory_of_another_user_is_refused_with_its_owner_and_mode() {
    for name in ["", "blobs", "blobs/sha256", "blobs/locks", "blobs/incoming", "tmp"] {
        let host = Host::new();
        let path = host.state(name);
        if !give_away(&path) {
            return;
        }
        let stderr = refusal(&mut host.build_with(name));
        assert!(
            stderr.contains("belongs to user 65534 (mode 0700), not to user 0 who runs this"),
            "{stderr}"
        );
        assert!(stderr.contains(&format!("chown -R 0 {}", path.display())), "{stderr}");
        assert!(stderr.contains("sudo -H"), "{stderr}");
        let failure = run(host.build_with(name).args(["--mode", "ax"]));
        let failure: Value = serde_json::from_slice(&failure.stderr).unwrap();
        assert_eq!(failure["error"]["kind"], "policy_denied", "{failure}");
        if ["", "blobs"].contains(&name) {
            let blob = host.state("blobs/sha256").join(&host.layer);
            fs::write(&blob, "damaged").unwrap();
            for command in ["ls", "prune", "verify"] {
                let stderr = refusal(&mut host.cache(&["cache", command]));
                assert!(stderr.contains("belongs to user 65534"), "{stderr}");
                assert!(blob.exists(), "{command}");
            }
        }
    }
}

#[test]
fn state_directory_is_refused_before_any_request_or_read() {
    let host = Host::new();
    set_mode(&host.state(""), 0o777);
    let layout = format!("oci:{}", host.path("missing").display());
    let tag = host.server.reference(":latest");
    for (reference, arguments) in [
        (&tag, &["--allow-mutable"][..]),
        (&layout, &["--allow-mutable", "--keep-unpacked"]),
    ] {
        let mut build = rootfs_build(reference, &host.path("out"), &host.state(""));
        let stderr = refusal(build.args(arguments));
        assert!(stderr.contains("can be changed by other users (mode 0777"), "{stderr}");
    }
    assert_eq!(host.server.count(""), 0);
}

#[test]
fn a_state_directory_behind_a_symlink_of_another_user_is_refused() {
    let host = Host::new();
    let link = host.path("link");
    symlink(host.state(""), &link).unwrap();
    let build = || rootfs_build(&host.reference, &host.path("out"), &link);
    succeed(&mut build());
    if cfg!(target_os = "linux") && give_away(&link) {
        let stderr = refusal(&mut build());
        assert!(
            stderr.contains(&format!("the symlink {} of user 65534", link.display())),
            "{stderr}"
        );
    }
}

#[test]
fn special_files_in_the_store_are_not_followed_and_do_not_block() {
    let host = Host::new();
    let blobs = host.state("blobs/sha256");
    let blob = blobs.join(&host.layer);
    let partial = blobs.join(format!("{}.partial", host.layer));
    let lock = host.state("blobs/locks").join(&host.layer[..3]);
    for place in [&blob, &partial, &lock] {
        for kind in SPECIAL_FILES {
            let _ = fs::remove_file(place);
            if !create_special(kind, place, &host.victim()) {
                continue;
            }
            let context = format!("a {kind} at {}", place.display());
            let stderr = refusal(&mut host.build());
            assert!(stderr.contains(&format!("{}", place.display())), "{context}: {stderr}");
            assert!(stderr.contains(&format!("is a {kind}")), "{context}: {stderr}");
            assert!(!host.path("out").exists(), "{context}");
            host.assert_victim_unchanged(&context);
            succeed(&mut host.cache(&["cache", "prune"]));
            assert!(fs::symlink_metadata(place).is_err(), "{context}");
            host.assert_victim_unchanged(&context);
        }
    }
    succeed(&mut host.build());
}

#[test]
fn store_files_of_another_user_are_refused() {
    let host = Host::new();
    let blobs = host.state("blobs/sha256");
    let blob = blobs.join(&host.layer);
    let partial = blobs.join(format!("{}.partial", host.layer));
    let lock = host.state("blobs/locks").join(&host.layer[..3]);
    for place in [&blob, &partial, &lock] {
        for shared in [false, true] {
            fs::write(place, tar("one", 100_000)).unwrap();
            if shared {
                set_mode(place, 0o666);
            } else if !give_away(place) {
                continue;
            }
            let stderr = refusal(&mut host.build());
            let reason = if shared {
                "can be changed by other users (mode 0666"
            } else {
                "belongs to user 65534"
            };
            assert!(stderr.contains(reason), "{stderr}");
            fs::remove_file(place).unwrap();
        }
    }
    succeed(&mut host.build());
    assert_eq!(host.server.count(&host.layer), 1);
}

/// Adds all kinds of unusable entries to a store. Returns the one that `cache prune` cannot remove:
/// a directory that is not empty.
fn create_unusable_entries(host: &Host) -> PathBuf {
    let blobs = host.state("blobs/sha256");
    let name = |letter: char| letter.to_string().repeat(64);
    for (letter, kind) in ('a'..).zip(SPECIAL_FILES) {
        create_special(kind, &blobs.join(name(letter)), &host.victim());
        create_special(kind, &blobs.join(name(letter) + ".partial"), &host.victim());
        create_special(
            kind,
            &host.state("blobs/incoming").join(name(letter) + ".x"),
            &host.victim(),
        );
        create_special(
            kind,
            &host.state("blobs/locks").join(&name(letter)[..3]),
            &host.victim(),
        );
    }
    let full_directory = blobs.join(name('f'));
    fs::create_dir(&full_directory).unwrap();
    fs::write(full_directory.join("file"), "").unwrap();
    fs::write(blobs.join("README"), "").unwrap();
    // Other systems may refuse names that are not UTF-8.
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::ffi::OsStrExt;
        fs::write(blobs.join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), "").unwrap();
    }
    let unreadable = blobs.join(name('0'));
    fs::write(&unreadable, "").unwrap();
    set_mode(&unreadable, 0);
    let foreign = blobs.join(name('1'));
    fs::write(&foreign, "").unwrap();
    give_away(&foreign);
    full_directory
}

#[test]
fn unremovable_store_entry_does_not_stop_prune_verify_or_build() {
    for command in ["prune", "verify", "build"] {
        let host = Host::new();
        let full_directory = create_unusable_entries(&host);
        let good = host.state("blobs/sha256").join(&host.layer);
        fs::write(&good, tar("one", 100_000)).unwrap();
        let damaged = host.state("blobs/sha256").join("2".repeat(64));
        fs::write(&damaged, "damaged").unwrap();
        if command == "build" {
            succeed(host.build().args(["--cache-limit-mib", "0"]));
        } else {
            let stderr = refusal(&mut host.cache(&["--text", "cache", command]));
            assert!(stderr.contains(&format!("{}", full_directory.display())), "{stderr}");
            assert_eq!(stderr.matches("warning: ").count(), 1, "{stderr}");
        }
        let mut remaining: Vec<_> = fs::read_dir(host.state("blobs/sha256")).unwrap().collect();
        remaining.retain(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            let name = name.to_str().unwrap_or_default();
            name.len() == 64 || name.ends_with(".partial")
        });
        let is_verify = command == "verify";
        assert_eq!(good.exists(), is_verify, "{command:?}");
        assert!(full_directory.exists() && !damaged.exists(), "{command:?}");
        assert_eq!(
            remaining.len(),
            1 + usize::from(is_verify),
            "{command:?}: {remaining:?}"
        );
        assert!(host.state("blobs/sha256/README").exists());
        host.assert_victim_unchanged(&format!("{command:?}"));
    }
}

#[test]
fn cache_ls_lists_unusable_entries_as_problems() {
    let host = Host::new();
    let full_directory = create_unusable_entries(&host);
    let list = succeed(&mut host.cache(&["--text", "cache", "ls"]));
    assert!(
        stderr(&list)
            .lines()
            .all(|line| line.starts_with("warning: refused to use ")),
        "{}",
        stderr(&list)
    );
    let list = succeed(&mut host.cache(&["--json", "cache", "ls"]));
    let json: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(json["blobs"].as_array().unwrap().len(), 2, "{json}");
    let library = Cache::new(&host.state("")).entries().unwrap();
    assert_eq!(
        serde_json::to_string(&library).unwrap() + "\n",
        String::from_utf8_lossy(&list.stdout)
    );
    let problems = json["problems"].as_array().unwrap();
    let is_listed = |path: &Path, kind: &str| {
        let text = format!(
            "{}, where downloads are kept: it is a {kind}, not a regular file",
            path.display()
        );
        problems
            .iter()
            .any(|problem| problem.as_str().unwrap().ends_with(&text))
    };
    assert!(is_listed(&full_directory, "directory"), "{json}");
    assert!(
        is_listed(&host.state("blobs/sha256").join("b".repeat(64)), "FIFO"),
        "{json}"
    );
    assert_eq!(list.stderr, b"");

    let pruned = run(&mut host.cache(&["--json", "--mode", "ax", "cache", "prune"]));
    assert_eq!(pruned.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&pruned.stdout).unwrap();
    assert_eq!(json["problems"].as_array().unwrap().len(), 1, "{json}");
    let failure: Value = serde_json::from_slice(&pruned.stderr).unwrap();
    let message = failure["error"]["message"].as_str().unwrap();
    assert!(message.contains(&format!("{}", full_directory.display())), "{failure}");

    fs::remove_file(full_directory.join("file")).unwrap();
    succeed(&mut host.cache(&["cache", "prune"]));
    let json: Value = serde_json::from_slice(&succeed(&mut host.cache(&["--json", "cache", "ls"])).stdout).unwrap();
    assert_eq!(json, json!({"blobs": [], "size_bytes": 0, "problems": []}));
}

#[test]
fn wait_for_the_lock_of_another_build_is_noted() {
    let host = Host::new();
    let path = host.state("blobs/locks").join(&host.layer[..3]);
    let lock = fs::File::create(&path).unwrap();
    set_mode(&path, 0o600);
    lock.try_lock().unwrap();
    let mut child = spawn(&mut host.build());
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let expected = format!("note: waiting for another build, which holds {} and", path.display());
    assert!(line.starts_with(&expected), "{line}");
    assert!(child.try_wait().unwrap().is_none());
    drop(lock);
    stderr.read_to_string(&mut line).unwrap();
    assert!(child.wait().unwrap().success(), "{line}");
}

/// A home directory, and a registry that asks for credentials.
struct Home {
    root: TempDir,
    server: Server,
}

impl Home {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("victim"), "mine").unwrap();
        set_mode(&root.path().join("victim"), 0o640);
        let server = Server::start(|request, _| {
            let is_known = request.authorization() == Some(&format!("Basic {PAIR}"));
            let refused = Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\"");
            if is_known { Reply::status(404) } else { refused }
        });
        Self { root, server }
    }

    /// Returns a path as error messages have it: without symlinks. The temporary directory of macOS
    /// is behind one.
    fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(&self.root).unwrap().join(name)
    }

    fn credentials(&self) -> String {
        json!({"auths": {self.server.address.to_string(): {"auth": PAIR}}}).to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = microagent(arguments);
        command.env("HOME", self.root.path());
        command
    }

    /// Returns a logout with a credentials file. A logout sends no request.
    fn logout(&self, name: &str) -> Command {
        let mut command = self.command(&["registry", "logout", &self.server.address.to_string()]);
        command.env("REGISTRY_AUTH_FILE", self.path(name));
        command
    }

    /// Runs a build, which fails, and returns its standard error. With valid credentials, the error
    /// is [`NOT_FOUND`]. `named` is a credentials file for `REGISTRY_AUTH_FILE`.
    fn build(&self, named: Option<&str>) -> String {
        let mut build = rootfs_build(&self.server.reference(""), &self.path("out"), &self.path("state"));
        build.arg("--allow-mutable").env("HOME", self.root.path());
        match named {
            Some(name) => build.env("REGISTRY_AUTH_FILE", self.path(name)),
            None => build.env_remove("REGISTRY_AUTH_FILE"),
        };
        refusal(&mut build)
    }

    fn assert_victim_unchanged(&self, context: &str) {
        let victim = self.path("victim");
        assert_eq!(
            (&*fs::read(&victim).unwrap(), mode(&victim)),
            (&b"mine"[..], 0o640),
            "{context}"
        );
    }
}

/// Part of the hint for an image that does not exist.
const NOT_FOUND: &str = "check the repository";

#[test]
fn credentials_that_others_could_have_planted_are_refused() {
    let home = Home::new();
    fs::create_dir(home.path(".microagent")).unwrap();
    for (name, is_named) in [("auth.json", true), (".microagent/auth.json", false)] {
        let file = home.path(name);
        let named = is_named.then_some(name);
        for kind in SPECIAL_FILES.into_iter().filter(|kind| *kind != "symlink") {
            if create_special(kind, &file, &home.path("victim")) {
                let stderr = home.build(named);
                let reason = format!("refused to use {} for credentials", file.display());
                assert!(
                    stderr.contains(&reason) && stderr.contains(&format!("is a {kind}")),
                    "{stderr}"
                );
                let _ = fs::remove_file(&file);
                let _ = fs::remove_dir(&file);
            }
        }
        fs::write(&file, home.credentials()).unwrap();
        assert!(home.build(named).contains(NOT_FOUND));
        // A file that the user names may belong to anyone.
        set_mode(&file, 0o666);
        let stderr = home.build(named);
        assert_eq!(stderr.contains(NOT_FOUND), is_named, "{stderr}");
        assert_eq!(
            stderr.contains("can be changed by other users (mode 0666"),
            !is_named,
            "{stderr}"
        );
        set_mode(&file, 0o644);
        if give_away(&file) {
            let stderr = home.build(named);
            assert_eq!(stderr.contains(NOT_FOUND), is_named, "{stderr}");
            assert_eq!(
                stderr.contains("belongs to user 65534 (mode 0644)"),
                !is_named,
                "{stderr}"
            );
            assert_eq!(stderr.contains("sudo -H"), !is_named, "{stderr}");
        }
        fs::remove_file(&file).unwrap();
        // Only symlinks of this user and of root are followed.
        let elsewhere = home.path("elsewhere");
        fs::write(&elsewhere, home.credentials()).unwrap();
        symlink(&elsewhere, &file).unwrap();
        assert!(home.build(named).contains(NOT_FOUND));
        if cfg!(target_os = "linux") && give_away(&file) {
            let stderr = home.build(named);
            assert!(
                stderr.contains(&format!("the symlink {} of user 65534", file.display())),
                "{stderr}"
            );
        }
        fs::remove_file(&file).unwrap();
    }
}

/// Kubernetes mounts a secret as a directory that every user can write to, with symlinks to the
/// current version of the file.
#[test]
fn kubernetes_secret_mount_is_read() {
    let home = Home::new();
    let mount = home.path("mount");
    fs::create_dir_all(mount.join("..2024_01_01")).unwrap();
    fs::write(mount.join("..2024_01_01/auth.json"), home.credentials()).unwrap();
    symlink("..2024_01_01", mount.join("..data")).unwrap();
    symlink("..data/auth.json", mount.join("auth.json")).unwrap();
    set_mode(&mount, 0o1777);
    let stderr = home.build(Some("mount/auth.json"));
    assert!(stderr.contains(NOT_FOUND), "{stderr}");
}

#[test]
fn oversized_credentials_file_is_refused() {
    let home = Home::new();
    fs::write(home.path("auth.json"), " ".repeat((1 << 20) + 1)).unwrap();
    let stderr = home.build(Some("auth.json"));
    assert!(stderr.contains("has more than 1048576 bytes"), "{stderr}");
    let stderr = refusal(&mut home.logout("auth.json"));
    assert!(stderr.contains("has more than 1048576 bytes"), "{stderr}");
}

#[test]
fn special_files_in_place_of_credentials_or_their_lock_are_not_changed() {
    let home = Home::new();
    for name in ["auth.json", "auth.json.lock"] {
        for kind in SPECIAL_FILES {
            let place = home.path(name);
            if name != "auth.json" {
                fs::write(home.path("auth.json"), home.credentials()).unwrap();
            }
            let _ = fs::remove_file(&place);
            if !create_special(kind, &place, &home.path("victim")) {
                continue;
            }
            let context = format!("a {kind} at {name}");
            // A symlink of this user is followed to the credentials file, but not to the lock.
            if kind == "symlink" && name == "auth.json" && !give_away(&place) {
                fs::remove_file(&place).unwrap();
                continue;
            }
            let stderr = refusal(&mut home.logout("auth.json"));
            assert!(
                stderr.contains("refused to use ") && stderr.contains(name),
                "{context}: {stderr}"
            );
            home.assert_victim_unchanged(&context);
            assert!(fs::symlink_metadata(&place).is_ok(), "{context}");
            let _ = fs::remove_file(&place);
            let _ = fs::remove_dir(&place);
        }
    }
}

#[test]
fn credentials_of_another_user_are_not_changed() {
    let home = Home::new();
    // The mode of /tmp.
    set_mode(home.root.path(), 0o1777);
    for name in ["auth.json", "auth.json.lock"] {
        fs::write(home.path("auth.json"), home.credentials()).unwrap();
        fs::write(home.path("auth.json.lock"), "").unwrap();
        for shared in [true, false] {
            set_mode(&home.path("auth.json"), 0o600);
            set_mode(&home.path("auth.json.lock"), 0o600);
            let reason = if shared {
                set_mode(&home.path(name), 0o606);
                "can be changed by other users (mode 0606"
            } else if give_away(&home.path(name)) {
                "belongs to user 65534 (mode 0600)"
            } else {
                continue;
            };
            let stderr = refusal(&mut home.logout("auth.json"));
            assert!(stderr.contains(reason) && stderr.contains(name), "{stderr}");
            assert_eq!(fs::read_to_string(home.path("auth.json")).unwrap(), home.credentials());
        }
        fs::remove_file(home.path("auth.json.lock")).unwrap();
        fs::remove_file(home.path("auth.json")).unwrap();
    }
    fs::write(home.path("auth.json"), home.credentials()).unwrap();
    succeed(&mut home.logout("auth.json"));
    assert_eq!(mode(&home.path("auth.json")), 0o600);
    assert_eq!(mode(&home.path("auth.json.lock")), 0o600);
}

/// The note names the lock, and Ctrl-C ends the wait.
#[test]
fn login_notes_that_it_waits_for_a_lock_and_can_be_interrupted() {
    let home = Home::new();
    let server = Server::start(|_, _| Reply::status(200));
    let path = home.path("auth.json.lock");
    let lock = fs::File::create(&path).unwrap();
    set_mode(&path, 0o600);
    lock.try_lock().unwrap();
    let mut login = home.command(&["registry", "login", &server.address.to_string(), "-u", "someone"]);
    login
        .arg("--password-stdin")
        .env("REGISTRY_AUTH_FILE", home.path("auth.json"));
    let mut child = login.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"pass").unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let expected = format!("note: waiting for another process, which holds {}\n", path.display());
    assert_eq!(line, expected);
    let kill = Command::new("sh")
        .args(["-c", &format!("kill -INT {}", child.id())])
        .status();
    assert!(kill.unwrap().success());
    assert!(eventually(|| child.try_wait().unwrap().is_some()), "the login hangs");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!home.path("auth.json").exists());
}

/// Another user may own a file of a layout or of a `dir:`.
#[test]
fn a_fifo_or_device_in_a_layout_is_refused() {
    let host = Host::new();
    for kind in ["FIFO", "device", "socket"] {
        let layout = TestLayout::new();
        let image = image(&layout, &["one"]);
        let directory = host.path(&format!("dir-{kind}"));
        fs::create_dir(&directory).unwrap();
        for name in ["oci-layout", "index.json", &format!("blobs/sha256/{}", host.layer)] {
            let file = layout.path().join(name);
            let original = fs::read(&file).unwrap();
            fs::remove_file(&file).unwrap();
            if create_special(kind, &file, &host.victim()) {
                let reference = if name.starts_with("blobs") {
                    layout.reference(&format!("@{}", digest(&image)))
                } else {
                    layout.reference(":latest")
                };
                let mut build = rootfs_build(&reference, &host.path("out"), &host.state(""));
                let stderr = refusal(build.arg("--allow-mutable"));
                assert!(
                    stderr.contains(&format!("{} is not a regular file", file.display())),
                    "{stderr}"
                );
                fs::remove_file(&file).unwrap();
            }
            fs::write(&file, original).unwrap();
        }
        if create_special(kind, &directory.join("manifest.json"), &host.victim()) {
            let reference = format!("dir:{}", directory.display());
            let mut build = rootfs_build(&reference, &host.path("out"), &host.state(""));
            let stderr = refusal(build.arg("--allow-mutable"));
            assert!(stderr.contains("manifest.json is not a regular file"), "{stderr}");
        }
    }
    assert!(!host.path("out").exists());
}
