//! Runs tools on an image, those of e2fsprogs above all, and asserts that e2fsck finds no problem.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use super::skip::skip;

/// Longest time that a tool may take. A tool that the kernel blocks forever, such as an unmount,
/// fails its test instead of blocking all.
const DEADLINE: Duration = Duration::from_mins(5);

/// Returns whether a tool is missing, and reports the test as skipped if so.
pub fn are_missing(tools: &[&str]) -> bool {
    let missing = tools.iter().find(|tool| {
        let found = output_within(command(tool).arg("-V"), DEADLINE);
        found.is_err()
    });
    if let Some(tool) = missing {
        skip(&format!("{tool} is not installed"));
    }
    missing.is_some()
}

/// Command for a tool, with the `PATH` of root and messages in English.
pub fn command(tool: &str) -> Command {
    let mut command = Command::new(tool);
    command
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C");
    command
}

/// Runs a command, and panics if it is missing or misses the deadline.
pub fn output(command: &mut Command) -> Output {
    let output = output_within(command, DEADLINE).unwrap();
    output.unwrap_or_else(|| panic!("{command:?} did not end in {DEADLINE:?}"))
}

/// Runs a command, and returns `None` after the deadline. The command is killed then, but not
/// waited for, since the kernel may block it.
pub fn output_within(command: &mut Command, deadline: Duration) -> io::Result<Option<Output>> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn()?;
    let id = child.id().to_string();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    if let Ok(output) = receiver.recv_timeout(deadline) {
        return output.map(Some);
    }
    let _ = Command::new("kill").args(["-KILL", &id]).status();
    Ok(None)
}

/// Runs a tool with an image as the last argument.
pub fn run<S: AsRef<OsStr>>(tool: &str, arguments: &[S], image: &Path) -> Output {
    output(command(tool).args(arguments).arg(image))
}

/// Runs a tool that must succeed, and returns its standard output.
pub fn stdout<S: AsRef<OsStr>>(tool: &str, arguments: &[S], image: &Path) -> String {
    let output = run(tool, arguments, image);
    assert!(output.status.success(), "{tool}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard output and standard error of a tool.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Returns the problems that `e2fsck -fn` finds, or else those of [`ext4::check()`]; `None` if the
/// image is clean.
pub fn problems(image: &Path) -> Option<String> {
    e2fsck_problems(image).or_else(|| check_problems(image))
}

/// Returns the output of `e2fsck -fn` if it finds a problem.
fn e2fsck_problems(image: &Path) -> Option<String> {
    e2fsck_problems_except(image, |_| false)
}

/// Returns the output of `e2fsck -fn` if it finds a problem besides extent trees that could be
/// smaller.
pub fn e2fsck_errors(image: &Path) -> Option<String> {
    e2fsck_problems_except(image, |line| line.ends_with("Optimize? no"))
}

fn check_problems(image: &Path) -> Option<String> {
    let report = ext4::check(File::open(image).unwrap()).unwrap();
    (!report.is_clean()).then(|| format!("only ext4::check: {report:#?}"))
}

/// Asserts that neither `e2fsck -fn` nor [`ext4::check()`] finds a problem. `what` names the image.
pub fn assert_clean(image: &Path, what: &str) {
    if let Some(problems) = problems(image) {
        panic!("{what}: {problems}");
    }
}

/// Asserts that [`ext4::check()`] finds no problem, and `e2fsck -fn` neither where it is installed.
pub fn assert_clean_where_installed(image: &Path, what: &str) {
    static IS_MISSING: LazyLock<bool> = LazyLock::new(|| are_missing(&["e2fsck"]));
    let problems = if *IS_MISSING {
        check_problems(image)
    } else {
        problems(image)
    };
    if let Some(problems) = problems {
        panic!("{what}: {problems}");
    }
}

/// Asserts that an image is clean after the kernel wrote to it. Ignores extent trees that e2fsck
/// could make smaller, since the kernel does not shrink them.
pub fn assert_clean_after_use(image: &Path, what: &str) {
    let problems = e2fsck_problems_except(image, |line| line.ends_with("Optimize? no"));
    if let Some(problems) = problems.or_else(|| check_problems(image)) {
        panic!("{what}, after use: {problems}");
    }
}

/// Asserts that an image is clean after a guest wrote to it. Ignores what
/// [`assert_clean_after_use`] ignores, and times in the future: the guest's clock may be ahead by
/// seconds.
pub fn assert_clean_after_boot(image: &Path, what: &str) {
    let problems = e2fsck_problems_except(image, |line| {
        line.ends_with("Optimize? no") || line.ends_with("is in the future.") || line.contains("(by less than a day")
    });
    if let Some(problems) = problems.or_else(|| check_problems(image)) {
        panic!("{what}, after a boot: {problems}");
    }
}

/// Returns the output of `e2fsck -fn` if it fails or prints a line that is not harmless.
fn e2fsck_problems_except(image: &Path, is_harmless: fn(&str) -> bool) -> Option<String> {
    let output = run("e2fsck", &["-fn"], image);
    let is_silent = String::from_utf8_lossy(&output.stdout)
        .lines()
        .all(|line| is_progress(line) || is_harmless(line) || line.is_empty());
    (output.status.code() != Some(0) || !is_silent).then(|| text(&output))
}

/// Asserts that `e2fsck -D` reorders the directories of a copy, changes nothing else, and leaves it
/// clean.
pub fn assert_optimizable(image: &Path, what: &str) {
    let copy = copy_of(image);
    let output = run("e2fsck", &["-fyD"], &copy);
    let others: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| !is_progress(line) && !line.contains("FILE SYSTEM WAS MODIFIED") && !line.is_empty())
        .map(str::to_owned)
        .collect();
    assert!(others.is_empty(), "{what}: {}", text(&output));
    assert_clean(&copy, what);
}

/// Returns a field of the superblock as `dumpe2fs -h` prints it.
pub fn superblock_field(image: &Path, name: &str) -> String {
    superblock_fields(image)
        .remove(name)
        .unwrap_or_else(|| panic!("no {name}"))
}

/// Returns the fields of the superblock, and of the journal's, as `dumpe2fs -h` prints them.
pub fn superblock_fields(image: &Path) -> BTreeMap<String, String> {
    stdout("dumpe2fs", &["-h"], image)
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// Copies an image. Holes stay holes.
pub fn copy_of(image: &Path) -> tempfile::TempPath {
    let copy = tempfile::NamedTempFile::new_in(image.parent().unwrap())
        .unwrap()
        .into_temp_path();
    let copied = output(command("cp").arg("--sparse=always").arg(image).arg(&copy));
    assert!(copied.status.success(), "cp: {}", text(&copied));
    copy
}

/// Returns whether a line of e2fsck's output is only about its progress, or how full the file
/// system is.
fn is_progress(line: &str) -> bool {
    line.starts_with("Pass ") || (line.contains(" files (") && line.ends_with(" blocks"))
}
