//! Commands with limits on threads or memory: each ends with an ordinary error, or succeeds.
//!
//! Needs Linux and root. The commands run as another user, since the limit on threads (`ulimit -u`)
//! does not apply to root.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs;
use std::os::unix::fs::{FileExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use support::program::{program, sample};
use support::registry::Registry;
use support::single_image::{Layout, digest};
use support::skip::skip;
use support::tools;

/// First of the user IDs for tests. No account has them, so each one's only threads are those of
/// the program.
const FIRST_USER: u32 = 100_000_000;
/// Number of user IDs in use by this process.
static USERS: AtomicU32 = AtomicU32::new(0);

/// The digest of the sample image's index.
const SAMPLE: &str = "sha256:cd5c69a0018311b0abb2459ce53df7a4c693346459185473f345de02d9447edd";

/// Time after which a command counts as hanging.
const DEADLINE: Duration = Duration::from_mins(2);

/// A directory of a user ID, with a copy of the program, the sample image, and a password.
struct Home {
    directory: TempDir,
    user: u32,
}

impl Home {
    /// Creates a directory; `None` if commands cannot run as another user, and the test is skipped.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() || tools::are_missing(&["prlimit", "setpriv"]) {
            skip("only root can run a program as another user, with prlimit and setpriv");
            return None;
        }
        // A user ID for each test: tests run at once, in one process or in several.
        let user = FIRST_USER + 16 * std::process::id() + USERS.fetch_add(1, Ordering::Relaxed);
        let directory = TempDir::new().unwrap();
        chown(directory.path(), Some(user), Some(user)).unwrap();
        fs::copy(program(), directory.path().join("microagent")).unwrap();
        let copied = Command::new("cp")
            .arg("-r")
            .arg(sample())
            .arg(directory.path())
            .status();
        assert!(copied.unwrap().success());
        fs::write(directory.path().join("password"), support::registry::PASSWORD).unwrap();
        Some(Self { directory, user })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs the program as the user with a limit of prlimit(1), and asserts that it ends by itself,
    /// without a panic, with status 0, or with status 1 and an error message.
    fn run(&self, limit: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "exec \"$@\" <password",
            "sh",
            "prlimit",
            limit,
            "setpriv",
            "--clear-groups",
        ]);
        command.args([format!("--reuid={}", self.user), format!("--regid={}", self.user)]);
        command.arg(self.path("microagent")).args(arguments);
        command
            .current_dir(self.directory.path())
            .env("HOME", self.directory.path());
        let output = tools::output_within(&mut command, DEADLINE).unwrap();
        let output = output.unwrap_or_else(|| panic!("{limit} {arguments:?} hangs"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), None, "{limit} {arguments:?}: {stderr}");
        for word in ["panic", "abort", "memory allocation"] {
            assert!(!stderr.contains(word), "{limit} {arguments:?}: {stderr}");
        }
        match output.status.code() {
            Some(0) => {}
            Some(1) => assert!(stderr.contains("error: "), "{limit} {arguments:?}: {stderr}"),
            _ => panic!("{limit} {arguments:?}: {}, {stderr}", output.status),
        }
        output
    }

    /// Runs the program with limits of 1, 2, … threads until it has succeeded three times. Returns
    /// how often it failed.
    fn run_with_few_threads(&self, arguments: &[&str]) -> usize {
        let mut failures = 0;
        let mut successes = 0;
        for count in 1..20 {
            if self.run(&format!("--nproc={count}"), arguments).status.success() {
                successes += 1;
            } else {
                failures += 1;
            }
            for created in ["out.ext4", "state"] {
                let path = self.path(created);
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
            assert_eq!(count_partial_files(self.directory.path()), 0);
            if successes == 3 {
                return failures;
            }
        }
        panic!("{arguments:?} does not succeed with 19 threads");
    }
}

/// Returns the number of temporary files in a directory.
fn count_partial_files(directory: &Path) -> usize {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().contains(".partial")).count()
}

/// Returns the arguments of a build.
fn build<'a>(image: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let arguments = [
        "rootfs",
        "build",
        "--image",
        image,
        "--out",
        "out.ext4",
        "--state-dir",
        "state",
        "--text",
    ];
    [&arguments[..], more].concat()
}

#[test]
fn build_from_a_layout_needs_few_threads() {
    let Some(home) = Home::new() else { return };
    let image = format!("oci:hello@{SAMPLE}");
    for more in [
        &["--progress", "plain"][..],
        &["--threads", "1"],
        &["--threads", "8", "--progress", "none"],
    ] {
        // A build fails without a second thread, which waits for signals.
        assert_eq!(home.run_with_few_threads(&build(&image, more)), 1);
    }
}

#[test]
fn build_from_a_registry_needs_few_threads() {
    let Some(home) = Home::new() else { return };
    let Some(registry) = Registry::start(false) else { return };
    let layout = format!("oci:{}", sample().display());
    registry.push(&layout, "hello:1", &["--all"]);
    let port = registry.host.rsplit_once(':').unwrap().1;
    for (host, needed) in [("127.0.0.1", 2), ("localhost", 3)] {
        let image = format!("{host}:{port}/hello:1");
        let failures = home.run_with_few_threads(&build(&image, &["--allow-mutable", "--progress", "plain"]));
        assert!(failures >= needed, "{host}: {failures}");
    }
}

#[test]
fn inspect_verify_and_diff_need_few_threads() {
    let Some(home) = Home::new() else { return };
    let image = format!("oci:hello@{SAMPLE}");
    let output = home.run("--nproc=20", &build(&image, &[]));
    assert!(output.status.success());
    fs::rename(home.path("out.ext4"), home.path("image.ext4")).unwrap();
    for arguments in [
        &["rootfs", "verify", "image.ext4"][..],
        &["rootfs", "diff", "image.ext4", "image.ext4"],
        &["rootfs", "inspect", "image.ext4", "ls", "/"],
        &["rootfs", "inspect", "image.ext4", "cp", "/etc/motd", "out.ext4"],
        &["cache", "verify"],
    ] {
        assert!(home.run_with_few_threads(arguments) <= 1, "{arguments:?}");
    }
}

#[test]
fn zstd_window_larger_than_memory_is_an_error() {
    let Some(home) = Home::new() else { return };
    let layout = Layout::create(home.path("layout"));
    // A frame of one block with a window of 512 MiB and without Frame_Content_Size (RFC 8878,
    // "Frame_Header").
    let tar = [0; 1024];
    let block = u32::try_from(tar.len()).unwrap() << 3 | 1;
    let blob = [&b"\x28\xb5\x2f\xfd\x00\x98"[..], &block.to_le_bytes()[..3], &tar].concat();
    let image = layout.image_that_runs(&[layout.layer(&blob, digest(&tar))], &json!({"Cmd": ["x"]}));
    let image = format!("oci:layout@{image}");
    assert!(home.run("--as=2000000000", &build(&image, &[])).status.success());
    let output = home.run("--as=400000000", &build(&image, &["--threads", "2"]));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("out of memory: the zstd stream's window takes 536870912 bytes"),
        "{stderr}"
    );
}

#[test]
fn superblock_with_huge_counts_takes_no_memory() {
    let Some(home) = Home::new() else { return };
    let image = format!("oci:hello@{SAMPLE}");
    assert!(
        home.run("--nproc=20", &build(&image, &["--init", "none"]))
            .status
            .success()
    );
    let path = home.path("out.ext4");
    let file = fs::File::options().write(true).open(&path).unwrap();
    // s_blocks_count_lo and s_inodes_count. The file has that size, and is a hole there.
    file.write_all_at(&u32::MAX.to_le_bytes(), 1024 + 4).unwrap();
    file.write_all_at(&u32::MAX.to_le_bytes(), 1024).unwrap();
    file.set_len(u64::from(u32::MAX) << 12).unwrap();
    for arguments in [
        &["rootfs", "verify", "out.ext4"][..],
        &["rootfs", "inspect", "out.ext4"],
        &["rootfs", "inspect", "out.ext4", "ls", "/"],
        &["rootfs", "diff", "out.ext4", "out.ext4"],
    ] {
        let mut command = Command::new("prlimit");
        command
            .arg("--as=400000000")
            .arg(home.path("microagent"))
            .args(arguments);
        command.current_dir(home.directory.path());
        let output = tools::output_within(&mut command, DEADLINE).unwrap();
        let output = output.unwrap_or_else(|| panic!("{arguments:?} hangs"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code().is_some_and(|code| code <= 2),
            "{arguments:?}: {} {stderr}",
            output.status
        );
    }
}

#[test]
fn login_needs_few_threads() {
    let Some(home) = Home::new() else { return };
    let Some(registry) = Registry::start(true) else { return };
    let host = registry.host.replace("127.0.0.1", "localhost");
    let arguments = [
        "registry",
        "login",
        &host,
        "-u",
        support::registry::USER,
        "--password-stdin",
    ];
    assert_eq!(home.run_with_few_threads(&arguments), 3);
}
