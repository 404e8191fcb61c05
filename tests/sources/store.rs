//! Builds that share a store: one after the other, at once, killed, or with corrupt files in it;
//! and the `cache` commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::sources::rootfs_build;
use support::layout::{TestLayout, digest};
use support::server::{Reply, Server, stored_reply};

/// The architecture of every image here.
const PLATFORM: &str = "linux/amd64";

/// Creates a tar with one file. Its content depends on the name.
pub(crate) fn tar(name: &str, len: usize) -> String {
    let mut state = name
        .bytes()
        .fold(7_u32, |state, byte| state.wrapping_mul(31) + u32::from(byte));
    let content: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + u8::try_from(state >> 28).unwrap()
    })
    .take(len)
    .collect();
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(len as u64);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, name, content.as_slice()).unwrap();
    String::from_utf8(tar.into_inner().unwrap()).unwrap()
}

/// Creates an image with a layer of 100 kB for each name.
pub(crate) fn image(layout: &TestLayout, layers: &[&str]) -> Value {
    let tars: Vec<_> = layers.iter().map(|name| tar(name, 100_000)).collect();
    layout.image(PLATFORM, &tars.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A directory with a store and outputs.
pub(crate) struct Builds(TempDir);

impl Builds {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    pub(crate) fn output(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.state().join("blobs/sha256").join(hex)
    }

    pub(crate) fn build(&self, reference: &str, name: &str) -> Command {
        let mut command = rootfs_build(reference, &self.output(name), &self.state());
        command.env_remove("MICROAGENT_CACHE_LIMIT_MIB").stdout(Stdio::null());
        command
    }

    fn cache(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_microagent"));
        command
            .args(["--json", "cache"])
            .args(arguments)
            .arg("--state-dir")
            .arg(self.state());
        command.output().unwrap()
    }

    /// Returns the blobs that a subcommand of `cache` lists.
    fn listed(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.cache(arguments);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        json["blobs"].as_array().unwrap().clone()
    }

    /// Returns the number of partial blobs that are not empty.
    fn partial_count(&self) -> usize {
        let blobs = self.listed(&["ls"]);
        let is_partial = |blob: &&Value| blob["complete"] == false && blob["size_bytes"] != 0;
        blobs.iter().filter(is_partial).count()
    }
}

pub(crate) fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn same(a: &Path, b: &Path) -> bool {
    fs::read(a).unwrap() == fs::read(b).unwrap()
}

#[test]
fn second_build_sends_no_request_and_gives_the_same_image() {
    let layout = TestLayout::new();
    let image = image(&layout, &["one", "two", "three"]);
    let server = Server::of(&layout, &image, |_, _| None);
    let builds = Builds::new();
    let version = format!("@{}", digest(&image));
    succeed(&mut builds.build(&server.reference(&version), "first"));
    let requests = server.requests().len();
    assert_eq!(requests, 5);
    succeed(&mut builds.build(&server.reference(&version), "second"));
    assert_eq!(server.requests().len(), requests);
    assert!(same(&builds.output("first"), &builds.output("second")));

    succeed(&mut builds.build(&layout.reference(&version), "layout"));
    assert!(same(&builds.output("first"), &builds.output("layout")));
}

#[test]
fn corrupt_stored_layers_are_downloaded_again_within_the_build() {
    let layout = TestLayout::new();
    let image = image(&layout, &["one", "two", "three"]);
    let server = Server::of(&layout, &image, |_, _| None);
    let builds = Builds::new();
    let reference = server.reference(&format!("@{}", digest(&image)));
    succeed(&mut builds.build(&reference, "first"));
    for layer in ["one", "three"] {
        let tar = tar(layer, 100_000);
        let path = builds.blob(digest(&layout.blob("", tar.as_bytes())));
        assert!(path.exists());
        fs::write(path, tar.replace('a', "b")).unwrap();
    }
    succeed(&mut builds.build(&reference, "second"));
    assert!(same(&builds.output("first"), &builds.output("second")));
    assert_eq!(server.requests().len(), 7);
}

#[test]
fn corrupt_partial_blob_is_downloaded_again_within_the_build() {
    let layout = TestLayout::new();
    let image = image(&layout, &["one"]);
    let server = Server::of(&layout, &image, |_, _| None);
    let builds = Builds::new();
    let layer = layout.blob("", tar("one", 100_000).as_bytes());
    let partial = builds.blob(digest(&layer)).with_extension("partial");
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, [0; 1000]).unwrap();
    succeed(&mut builds.build(&server.reference(&format!("@{}", digest(&image))), "first"));
    assert!(!partial.exists());
    assert_eq!(server.count(digest(&layer)), 2);
}

#[test]
fn killed_builds_leave_a_store_that_the_next_one_resumes_from() {
    let layout = TestLayout::new();
    let image = image(&layout, &["one", "two", "three", "four", "five", "six"]);
    let last = digest(&layout.blob("", tar("six", 100_000).as_bytes())).to_owned();
    let is_slow = Arc::new(AtomicBool::new(true));
    let slow = Arc::clone(&is_slow);
    let server = Server::of(&layout, &image, {
        let blobs = layout.path().join("blobs/sha256");
        move |request, _| {
            if !slow.load(Ordering::Relaxed) || !request.path.contains("/blobs/") {
                return None;
            }
            // Only half of the last layer is sent, so that no build ends before it is killed.
            if request.path.ends_with(&last) {
                let mut body = tar("six", 100_000).into_bytes();
                let announced = body.len();
                body.truncate(announced / 2);
                return Some(Reply::Stall { announced, body });
            }
            Some(Reply::Slow {
                reply: Box::new(stored_reply(&blobs, "", request)),
                pause: Duration::from_millis(20),
            })
        }
    });
    let builds = Builds::new();
    let version = format!("@{}", digest(&image));
    let reference = server.reference(&version);
    for nr in 0..12 {
        let mut child = builds.build(&reference, "killed").spawn().unwrap();
        thread::sleep(Duration::from_millis(20 + 37 * nr));
        // On a slow machine, the last build waits until it has part of a layer.
        while nr == 11 && builds.partial_count() == 0 {
            assert!(
                child.try_wait().unwrap().is_none(),
                "the build ended without its last layer"
            );
        }
        // SIGKILL on Unix.
        child.kill().unwrap();
        child.wait().unwrap();
        let verified = builds.cache(&["verify"]);
        assert!(
            verified.status.success(),
            "{}",
            String::from_utf8_lossy(&verified.stdout)
        );
    }
    is_slow.store(false, Ordering::Relaxed);
    succeed(&mut builds.build(&reference, "first"));
    succeed(&mut builds.build(&layout.reference(&version), "layout"));
    assert!(same(&builds.output("first"), &builds.output("layout")));
    assert_eq!(builds.partial_count(), 0);
    let is_resumed = |request: &support::server::Request| request.range_start().is_some();
    assert!(server.requests().iter().any(is_resumed));
}

#[test]
fn concurrent_builds_share_their_downloads() {
    let layout = TestLayout::new();
    let images = [
        image(&layout, &["base", "one"]),
        image(&layout, &["base", "two"]),
        image(&layout, &["base", "one", "two"]),
    ];
    let blobs = layout.path().join("blobs/sha256");
    let server = Server::start(move |request, _| Reply::Slow {
        reply: Box::new(stored_reply(&blobs, "", request)),
        pause: Duration::from_millis(10),
    });
    let builds = Builds::new();
    let spawned: Vec<_> = (0..6)
        .map(|nr| {
            let reference = server.reference(&format!("@{}", digest(&images[nr % 3])));
            builds.build(&reference, &format!("out{nr}")).spawn().unwrap()
        })
        .collect();
    for mut child in spawned {
        assert!(child.wait().unwrap().success());
    }
    for layer in ["base", "one", "two"] {
        let layer = layout.blob("", tar(layer, 100_000).as_bytes());
        assert_eq!(server.count(digest(&layer)), 1);
    }
    for nr in 0..3 {
        let (a, b) = (format!("out{nr}"), format!("out{}", nr + 3));
        assert!(same(&builds.output(&a), &builds.output(&b)));
    }
}

/// Each build removes blobs that other builds are about to read.
#[test]
fn cache_limit_holds_while_builds_share_the_store() {
    let layout = TestLayout::new();
    let names = ["base", "one", "two", "three"];
    let image = image(&layout, &names);
    let blobs = layout.path().join("blobs/sha256");
    let server = Server::start(move |request, _| Reply::Slow {
        reply: Box::new(stored_reply(&blobs, "", request)),
        pause: Duration::from_millis(5),
    });
    let builds = Builds::new();
    let version = format!("@{}", digest(&image));
    let reference = server.reference(&version);
    for round in 0..3 {
        let spawned: Vec<_> = (0..6)
            .map(|nr| {
                thread::sleep(Duration::from_millis(17 * round));
                let mut build = builds.build(&reference, &format!("out{nr}"));
                build.args(["--cache-limit-mib", "0"]).stderr(Stdio::piped()).spawn()
            })
            .collect();
        for child in spawned {
            let output = child.unwrap().wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert!(builds.listed(&["ls"]).is_empty());
    }
    succeed(&mut builds.build(&layout.reference(&version), "layout"));
    for nr in 0..6 {
        assert!(same(&builds.output("layout"), &builds.output(&format!("out{nr}"))));
    }
}

#[test]
fn cache_limit_holds_after_each_build() {
    let layout = TestLayout::new();
    let image = image(&layout, &["one", "two"]);
    let server = Server::of(&layout, &image, |_, _| None);
    let builds = Builds::new();
    let reference = server.reference(&format!("@{}", digest(&image)));
    succeed(&mut builds.build(&reference, "first"));
    assert_eq!(builds.listed(&["ls"]).len(), 4);
    succeed(builds.build(&reference, "first").args(["--cache-limit-mib", "0"]));
    assert_eq!(builds.listed(&["ls"]).len(), 0);
    succeed(builds.build(&reference, "first").env("MICROAGENT_CACHE_LIMIT_MIB", "0"));
    assert_eq!(builds.listed(&["ls"]).len(), 0);
    let output = builds
        .build(&reference, "first")
        .env("MICROAGENT_CACHE_LIMIT_MIB", "much")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn cache_ls_lists_verify_removes_damage_and_prune_empties_the_store() {
    let layout = TestLayout::new();
    let image = image(&layout, &["one", "two"]);
    let server = Server::of(&layout, &image, |_, _| None);
    let builds = Builds::new();
    assert!(builds.listed(&["ls"]).is_empty());
    succeed(&mut builds.build(&server.reference(&format!("@{}", digest(&image))), "first"));

    let blobs = builds.listed(&["ls"]);
    let manifest = blobs.iter().find(|blob| blob["digest"] == image["digest"]).unwrap();
    assert_eq!(manifest["size_bytes"], image["size"]);
    assert_eq!(manifest["complete"], true);
    assert!(manifest["last_used"].as_u64().unwrap() > 1_700_000_000);

    assert!(builds.cache(&["verify"]).status.success());
    let layer = layout.blob("", tar("two", 100_000).as_bytes());
    fs::write(builds.blob(digest(&layer)), "short").unwrap();
    let output = builds.cache(&["verify"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains(digest(&layer)));
    assert!(String::from_utf8_lossy(&output.stderr).contains("removed 1 corrupt blob in the cache"));
    assert!(builds.listed(&["verify"]).is_empty());

    assert_eq!(builds.listed(&["prune", "--keep-mib", "1"]).len(), 0);
    assert_eq!(builds.listed(&["prune"]).len(), 3);
    assert!(builds.listed(&["ls"]).is_empty());
}

#[test]
fn i386_image_is_used_for_amd64_with_a_warning() {
    let layout = TestLayout::new();
    let version = format!("@{}", digest(&layout.image("linux/386", &[&tar("one", 10)])));
    let builds = Builds::new();
    let output = builds.build(&layout.reference(&version), "out").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(
        stderr.contains("no image for linux/amd64 was found, so the one for linux/386 is used"),
        "{stderr}"
    );
}

#[test]
fn plain_progress_goes_to_stderr_once_a_second() {
    let layout = TestLayout::new();
    let image = image(&layout, &["one", "two"]);
    let (blobs, latest) = (layout.path().join("blobs/sha256"), digest(&image).to_owned());
    let server = Server::start(move |request, _| Reply::Slow {
        reply: Box::new(stored_reply(&blobs, &latest, request)),
        pause: Duration::from_millis(if request.path.contains("/manifests/") { 0 } else { 70 }),
    });
    let reference = server.reference(&format!("@{}", digest(&image)));
    for (style, has_lines) in [("plain", true), ("auto", false), ("none", false)] {
        let builds = Builds::new();
        let mut build = builds.build(&reference, "out");
        let output = build
            .args(["--json", "--progress", style])
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap();
        assert_eq!(stderr.lines().count() > 0, has_lines, "{stderr}");
        if has_lines {
            assert!(stderr.lines().all(|line| line.starts_with("progress: ")), "{stderr}");
            let last = stderr.lines().last().unwrap();
            assert_eq!(last, "progress: 2 of 2 layers done; 1 of 1 MiB downloaded, 1 applied");
            assert!(stderr.lines().count() < 8, "{stderr}");
        }
    }
}

#[test]
fn pause_before_a_retry_is_reported_in_one_line() {
    let layout = TestLayout::new();
    let image = image(&layout, &["one"]);
    let server = || {
        Server::of(&layout, &image, |_, before| {
            (before == 0).then(|| Reply::status(429).with("Retry-After", "2"))
        })
    };
    let styles = [
        (["--progress", "plain"], Some("progress: ")),
        (["--progress", "auto"], Some("note: ")),
        (["--progress", "none"], None),
        (["--mode", "ax"], None),
    ];
    let builds = styles.map(|(arguments, prefix)| {
        let (builds, server) = (Builds::new(), server());
        let mut build = builds.build(&server.reference(&format!("@{}", digest(&image))), "out");
        build.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        // In parallel, since each waits.
        (build.spawn().unwrap(), builds, server.address, prefix)
    });
    for (build, _builds, address, prefix) in builds {
        let output = build.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        let lines: Vec<_> = stderr.lines().filter(|line| line.contains("asked again")).collect();
        let Some(prefix) = prefix else {
            assert_eq!(lines, [""; 0], "{stderr}");
            continue;
        };
        let [line] = lines[..] else {
            panic!("{prefix}: {stderr}")
        };
        let begin = format!("{prefix}{address} will be asked again in ");
        assert!(
            line.starts_with(&begin) && line.ends_with(" s, attempt 2 of 5"),
            "{line}"
        );
    }
}

/// Adds an image with two compressed layers to a layout. Returns its digest as the suffix of a
/// reference, and the layers' diff IDs.
fn compressed_image(layout: &TestLayout) -> (String, Vec<String>) {
    let tars = ["one", "two"].map(|name| tar(name, 300_000));
    let image = crate::sources::threads::image(layout, &tars, |_, tar| crate::sources::threads::gzip(tar));
    let diff_ids = tars.map(|tar| digest(&layout.blob("", tar.as_bytes())).to_owned());
    (format!("@{}", digest(&image)), diff_ids.into())
}

#[test]
fn cached_tars_replace_the_compressed_layers() {
    let layout = TestLayout::new();
    let (version, diff_ids) = compressed_image(&layout);
    let builds = Builds::new();
    let build = |name, arguments: &[&str]| {
        succeed(builds.build(&layout.reference(&version), name).args(arguments));
        fs::read(builds.output(name)).unwrap()
    };
    let plain = build("plain", &[]);
    assert!(
        !builds.state().join("blobs").exists(),
        "tars are cached only with --keep-unpacked"
    );
    assert!(build("first", &["--keep-unpacked"]) == plain);
    for diff_id in &diff_ids {
        assert!(builds.blob(diff_id).exists());
    }
    // Empties the layers in the layout, so that only the cached tars are left.
    for entry in fs::read_dir(layout.path().join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        if fs::metadata(&path).unwrap().len() > 10_000 {
            fs::write(path, "").unwrap();
        }
    }
    assert!(build("second", &["--keep-unpacked"]) == plain);
    assert!(
        !builds
            .build(&layout.reference(&version), "third")
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn corrupt_cached_tar_is_unpacked_again() {
    let layout = TestLayout::new();
    let (version, diff_ids) = compressed_image(&layout);
    for damage in [&|bytes: &mut Vec<u8>| bytes[600] ^= 1, &|bytes: &mut Vec<u8>| {
        bytes.truncate(700);
    }] as [&dyn Fn(&mut Vec<u8>); 2]
    {
        let builds = Builds::new();
        let build = |name| {
            succeed(builds.build(&layout.reference(&version), name).arg("--keep-unpacked"));
            fs::read(builds.output(name)).unwrap()
        };
        let first = build("first");
        let cached = builds.blob(&diff_ids[1]);
        let whole = fs::read(&cached).unwrap();
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&cached, bytes).unwrap();
        assert!(build("second") == first);
        assert!(fs::read(&cached).unwrap() == whole);
    }
}

#[test]
fn cached_tars_count_against_the_cache_limit() {
    let layout = TestLayout::new();
    let (version, diff_ids) = compressed_image(&layout);
    let builds = Builds::new();
    let mut command = builds.build(&layout.reference(&version), "out");
    succeed(command.args(["--keep-unpacked", "--cache-limit-mib", "0"]));
    assert!(diff_ids.iter().all(|diff_id| !builds.blob(diff_id).exists()));
    assert_eq!(fs::read_dir(builds.state().join("blobs/incoming")).unwrap().count(), 0);
}
