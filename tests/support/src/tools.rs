//! The tools that judge an image: those of e2fsprogs.

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

/// Longest time that a tool may take. One that the kernel never lets go on, as an unmount may be, then fails its test instead
/// of keeping the machine.
const DEADLINE: Duration = Duration::from_mins(5);

/// Whether one of the tools is missing; says so.
pub fn are_missing(tools: &[&str]) -> bool {
    let missing = tools.iter().find(|tool| {
        let found = within(command(tool).arg("-V"), DEADLINE);
        found.is_err()
    });
    if let Some(tool) = missing {
        skip(&format!("{tool} is not installed"));
    }
    missing.is_some()
}

/// A tool, as it is found by root and by others, in English.
pub fn command(tool: &str) -> Command {
    let mut command = Command::new(tool);
    command
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C");
    command
}

/// Runs a command that is there, and ends before the deadline.
pub fn output(command: &mut Command) -> Output {
    let output = within(command, DEADLINE).unwrap();
    output.unwrap_or_else(|| panic!("{command:?} did not end in {DEADLINE:?}"))
}

/// Runs a command; `None` if it takes longer than it may. It is killed then, and not waited for, since the kernel may not let
/// it die.
pub fn within(command: &mut Command, deadline: Duration) -> io::Result<Option<Output>> {
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

/// Runs a tool with an image as the last argument, and returns what it says.
pub fn run<S: AsRef<OsStr>>(tool: &str, arguments: &[S], image: &Path) -> Output {
    output(command(tool).args(arguments).arg(image))
}

/// What a tool that must not fail prints.
pub fn print<S: AsRef<OsStr>>(tool: &str, arguments: &[S], image: &Path) -> String {
    let output = run(tool, arguments, image);
    assert!(output.status.success(), "{tool}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Everything that a tool printed.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// What `e2fsck -fn` complains of, or [`ext4::check()`]; `None` if the image is clean.
pub fn complaint(image: &Path) -> Option<String> {
    e2fsck_complaint(image).or_else(|| check_complaint(image))
}

/// What `e2fsck -fn` complains of, `None` if the image is clean.
fn e2fsck_complaint(image: &Path) -> Option<String> {
    complaint_but(image, |_| false)
}

/// What `e2fsck -fn` calls wrong, and not only larger than it could be; `None` if that is nothing.
pub fn e2fsck_fault(image: &Path) -> Option<String> {
    complaint_but(image, |line| line.ends_with("Optimize? no"))
}

fn check_complaint(image: &Path) -> Option<String> {
    let report = ext4::check(File::open(image).unwrap()).unwrap();
    (!report.is_clean()).then(|| format!("only ext4::check: {report:#?}"))
}

/// Asserts that neither `e2fsck -fn` nor [`ext4::check()`] has anything to say.
pub fn assert_clean(image: &Path, what: &str) {
    if let Some(complaint) = complaint(image) {
        panic!("{what}: {complaint}");
    }
}

/// Asserts that an image is clean for [`ext4::check()`], and for `e2fsck -fn` where it is installed.
pub fn assert_clean_where_installed(image: &Path, what: &str) {
    static IS_MISSING: LazyLock<bool> = LazyLock::new(|| are_missing(&["e2fsck"]));
    let complaint = if *IS_MISSING {
        check_complaint(image)
    } else {
        complaint(image)
    };
    if let Some(complaint) = complaint {
        panic!("{what}: {complaint}");
    }
}

/// Asserts that neither has anything to say of an image that the kernel wrote to, but e2fsck how its extent trees, which the
/// kernel does not shrink, could be smaller.
pub fn assert_clean_after_use(image: &Path, what: &str) {
    let complaint = complaint_but(image, |line| line.ends_with("Optimize? no"));
    if let Some(complaint) = complaint.or_else(|| check_complaint(image)) {
        panic!("{what}, after use: {complaint}");
    }
}

/// Asserts the same of an image that a machine wrote to, whose clock may be ahead by seconds.
pub fn assert_clean_after_boot(image: &Path, what: &str) {
    let complaint = complaint_but(image, |line| {
        line.ends_with("Optimize? no") || line.ends_with("is in the future.") || line.contains("(by less than a day")
    });
    if let Some(complaint) = complaint.or_else(|| check_complaint(image)) {
        panic!("{what}, after a boot: {complaint}");
    }
}

fn complaint_but(image: &Path, is_harmless: fn(&str) -> bool) -> Option<String> {
    let output = run("e2fsck", &["-fn"], image);
    let is_silent = String::from_utf8_lossy(&output.stdout)
        .lines()
        .all(|line| is_progress(line) || is_harmless(line) || line.is_empty());
    (output.status.code() != Some(0) || !is_silent).then(|| text(&output))
}

/// Asserts that e2fsck, told to order the directories anew, does that to a copy and nothing else, and is content.
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

/// A field of the superblock as `dumpe2fs -h` prints it.
pub fn superblock_field(image: &Path, name: &str) -> String {
    superblock_fields(image)
        .remove(name)
        .unwrap_or_else(|| panic!("no {name}"))
}

/// The fields of the superblock and of the journal's as `dumpe2fs -h` prints them.
pub fn superblock_fields(image: &Path) -> BTreeMap<String, String> {
    print("dumpe2fs", &["-h"], image)
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// A copy of an image, as sparse as it is.
pub fn copy_of(image: &Path) -> tempfile::TempPath {
    let copy = tempfile::NamedTempFile::new_in(image.parent().unwrap())
        .unwrap()
        .into_temp_path();
    let copied = output(command("cp").arg("--sparse=always").arg(image).arg(&copy));
    assert!(copied.status.success(), "cp: {}", text(&copied));
    copy
}

/// Whether a line of e2fsck's says no more than how far it is, or how full the file system.
fn is_progress(line: &str) -> bool {
    line.starts_with("Pass ") || (line.contains(" files (") && line.ends_with(" blocks"))
}
