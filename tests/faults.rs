//! Commands of which one system call fails, made to by strace: whichever it is, the command succeeds,
//! or fails with a message, and leaves nothing half done.
//!
//! A first run of each command counts how often each of its threads makes each call. Then each of
//! these calls fails once with each of [`ERRORS`]. A quick sample of them is tried;
//! `FAULT_SWEEP=all` tries all, which takes minutes.
//!
//! strace counts by thread, so that where several threads make a call, it may fail in each of them.
//!
//! Needs Linux and strace. What is missing skips a test, and fails it where `REQUIRE_ORACLES=1`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::{env, thread};

use serde_json::Value;
use tempfile::TempDir;

use support::layout::TestLayout;
use support::program::{program, succeed, target_directory};
use support::server::Server;
use support::single_image::{Layout, digest};
use support::skip::{print_uncaptured, skip};
use support::wait::eventually;

/// Errors that a call fails with.
const ERRORS: [&str; 3] = ["EIO", "ENOSPC", "ENOMEM"];

/// Runs of each command in a sample.
const SAMPLE: usize = 40;

/// Content of an existing output.
const PRECIOUS: &str = "precious";

/// Calls that do not fail here, with a part of the lines that are meant, and the reason.
const LEFT_OUT: [(&[&str], &str, &str); 12] = [
    (
        &["execve", "exit", "exit_group", "restart_syscall", "rt_sigreturn"],
        "",
        "they begin and end a process, or what the kernel does in it",
    ),
    (
        &["arch_prctl", "futex", "rseq", "set_robust_list", "set_tid_address"],
        "",
        "the C library cannot go on without them, and says nothing",
    ),
    (&["brk"], "", "it returns no error, and the C library looks for none"),
    (
        &["rt_sigaction"],
        "SIGPIPE",
        "Rust aborts where it cannot ignore the signal",
    ),
    (&["geteuid"], "", "the kernel has no reason for an error"),
    (&["getrandom"], "", "Rust panics without keys for its hash maps"),
    (
        &["prlimit64"],
        "NULL",
        "rustix panics, and the kernel has no reason for an error",
    ),
    (
        &["poll", "ppoll"],
        "fd=0",
        "Rust aborts where it cannot look at its standard streams",
    ),
    (
        &["socketpair"],
        "",
        "tokio panics without the pair that signals wake it by",
    ),
    (
        &["epoll_wait", "epoll_pwait"],
        "",
        "tokio panics, and the kernel has no reason for an error",
    ),
    (
        &["write", "read"],
        "eventfd",
        "tokio is not woken, and the kernel has no reason for an error",
    ),
    (&["write"], "(2<", "then nobody hears of an error"),
];

/// Calls that get memory. Rust ends a process that gets none, and what has a hidden name stays.
const MEMORY: [&str; 5] = ["madvise", "mmap", "mprotect", "mremap", "munmap"];

/// Calls that remove. If they fail, what was to be removed stays.
const REMOVE: [&str; 3] = ["rmdir", "unlink", "unlinkat"];

/// Failures that are not ours, by a part of what is said.
const NOT_OURS: [(&str, &str); 2] = [
    (
        "error while loading shared libraries",
        "the dynamic loader says it, before the program begins",
    ),
    (
        "unexpected error during closedir",
        "Rust panics, and the kernel has no reason for an error",
    ),
];

type Arguments<'a> = dyn Fn(&Path) -> Vec<String> + Sync + 'a;

/// A command whose calls fail.
struct Scenario<'a> {
    /// Arguments, for a directory that holds what [`Scenario::prepare`] put there.
    arguments: Box<Arguments<'a>>,
    /// Puts something into the directory for outputs.
    prepare: fn(&Path),
}

/// A fault: a call, which one of a thread's, and the error.
type Fault = (String, usize, &'static str);

/// Files by their paths, directories and symlinks too.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A run of a command under strace.
struct Run {
    status: ExitStatus,
    stderr: String,
    /// The log of strace.
    log: String,
    out: Files,
    state: Files,
}

impl Scenario<'_> {
    /// Runs the command in an empty directory; fails if it takes a minute.
    fn run(&self, strace: &[&str]) -> Result<Run, String> {
        let directory = TempDir::new_in(target_directory()).unwrap();
        let [out, log, stderr] = ["out", "log", "stderr"].map(|name| directory.path().join(name));
        fs::create_dir(&out).unwrap();
        (self.prepare)(&out);
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-y", "-o"]).arg(&log).args(strace);
        command
            .arg(program())
            .args(["--mode", "ax"])
            .args((self.arguments)(directory.path()));
        for variable in [
            "MICROAGENT_MODE",
            "MICROAGENT_OUTPUT",
            "SOURCE_DATE_EPOCH",
            "RUST_BACKTRACE",
        ] {
            command.env_remove(variable);
        }
        // Hundreds of files that make no difference.
        command
            .env("SSL_CERT_FILE", "/dev/null")
            .env("SSL_CERT_DIR", "/nonexistent");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&stderr).unwrap());
        // strace would leave the command behind.
        let mut child = command.process_group(0).spawn().unwrap();
        if !eventually(|| child.try_wait().unwrap().is_some()) {
            let group = format!("-{}", child.id());
            succeed(Command::new("kill").args(["-KILL", "--", &group]));
            child.wait().unwrap();
            return Err(format!("it hangs: {}", injected(&fs::read_to_string(&log).unwrap())));
        }
        let text = |path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        Ok(Run {
            status: child.wait().unwrap(),
            stderr: text(&stderr),
            log: text(&log),
            out: files(&out),
            state: files(&directory.path().join("state")),
        })
    }

    /// Tries faults, and fails if one of them has a bad end.
    fn sweep(&self, name: &str) {
        let good = self.run(&[]).unwrap();
        assert!(good.status.success(), "{name}: {}", good.stderr);
        let before = TempDir::new().unwrap();
        (self.prepare)(before.path());
        let before = files(before.path());
        let all = faults(&good.log);
        let step = match env::var("FAULT_SWEEP").as_deref() {
            Ok("all") => 1,
            _ => all.len().div_ceil(SAMPLE),
        };
        let chosen = Mutex::new(all.iter().step_by(step));
        let bad = Mutex::new(Vec::new());
        let work = || {
            loop {
                let Some(fault) = chosen.lock().unwrap().next() else {
                    return;
                };
                let (call, nr, error) = fault;
                let trace = format!("trace={call}");
                let inject = format!("inject={call}:error={error}:when={nr}");
                let run = self.run(&["--seccomp-bpf", "-e", &trace, "-e", &inject]);
                let problem = match run {
                    Ok(run) => judge(&run, call, &before, &good),
                    Err(problem) if is_left_out(call, &problem) => None,
                    Err(problem) => Some(problem),
                };
                if let Some(problem) = problem {
                    bad.lock().unwrap().push(format!("{call} {nr} {error}: {problem}"));
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().unwrap().get() {
                scope.spawn(work);
            }
        });
        let (bad, count) = (bad.into_inner().unwrap(), all.len().div_ceil(step));
        assert!(count >= SAMPLE.min(all.len()) / 2, "only {count} faults");
        assert!(
            bad.is_empty(),
            "{name}: {} of {count} faults:\n{}",
            bad.len(),
            bad.join("\n")
        );
        print_uncaptured(&format!("{name}: {count} of {} faults\n", all.len()));
    }
}

/// All files below a directory, if it is there.
fn files(top: &Path) -> Files {
    let mut files = Files::new();
    let mut directories = vec![top.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
            let content = if kind.is_dir() {
                directories.push(path.clone());
                b"directory".to_vec()
            } else if kind.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else {
                digest(&fs::read(&path).unwrap()).into_bytes()
            };
            files.insert(path.strip_prefix(top).unwrap().to_owned(), content);
        }
    }
    files
}

/// Returns the calls of a log, with the thread that made each.
fn calls(log: &str) -> impl Iterator<Item = (&str, &str)> {
    log.lines().filter_map(|line| {
        let (thread, call) = line.split_once(' ')?;
        let call = call.trim_start();
        call.starts_with(|first: char| first.is_ascii_lowercase())
            .then_some((thread, call))
    })
}

fn name(call: &str) -> &str {
    call.split('(').next().unwrap_or_default()
}

/// Returns all faults for a log, but those that are left out.
fn faults(log: &str) -> Vec<Fault> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let (mut made, mut left_out) = (BTreeSet::new(), BTreeSet::new());
    for (thread, call) in calls(log) {
        let count = counts.entry((thread, name(call))).or_default();
        *count += 1;
        made.insert((name(call), *count));
        if is_left_out(name(call), call) {
            left_out.insert((name(call), *count));
        }
    }
    let chosen = made.difference(&left_out);
    chosen
        .flat_map(|(call, nr)| ERRORS.map(|error| ((*call).to_owned(), *nr, error)))
        .collect()
}

fn is_left_out(name: &str, line: &str) -> bool {
    let mut rules = LEFT_OUT.iter();
    rules.any(|(names, part, _)| names.contains(&name) && line.contains(part))
}

/// Returns the lines of a log with a call that was made to fail.
fn injected(log: &str) -> String {
    let mut begun = BTreeMap::new();
    let mut injected = String::new();
    for line in log.lines() {
        let thread = line.split(' ').next();
        if line.ends_with("<unfinished ...>") {
            begun.insert(thread, line);
        } else if line.ends_with("(INJECTED)") {
            // If another thread's call came between, the arguments are in an earlier line.
            let arguments = begun.remove(&thread).filter(|_| line.contains("<... "));
            writeln!(injected, "  {}{line}", arguments.unwrap_or_default()).unwrap();
        }
    }
    injected
}

/// Returns what is wrong with the end of a run.
fn judge(run: &Run, call: &str, before: &Files, good: &Run) -> Option<String> {
    let injected = injected(&run.log);
    let is_excused = |line: &str| is_left_out(call, line);
    if NOT_OURS.iter().any(|(part, _)| run.stderr.contains(part)) || injected.lines().any(is_excused) {
        return None;
    }
    let problem = match run.status.code() {
        None if MEMORY.contains(&call) => left(run, call, before, good),
        Some(_) if run.stderr.contains("panicked") => Some("a panic".to_owned()),
        Some(0) if run.out != good.out => Some(format!("another output: {}", difference(&good.out, &run.out))),
        Some(0) => None,
        Some(1) if message(&run.stderr).is_none() => Some("no message".to_owned()),
        Some(1) if run.stderr.contains("the command succeeded") && run.out == good.out => None,
        Some(1) => left(run, call, before, good),
        status => Some(format!("status {status:?}")),
    };
    problem.map(|problem| format!("{problem}\n{injected}{}: {}", run.status, run.stderr))
}

/// Returns the message of an error in JSON.
fn message(stderr: &str) -> Option<String> {
    let json: Value = serde_json::from_str(stderr.lines().last()?).ok()?;
    json["error"]["message"].as_str().map(str::to_owned)
}

/// Returns what a run left that it should not have.
fn left(run: &Run, call: &str, before: &Files, good: &Run) -> Option<String> {
    let is_partial = |path: &Path| path.extension().is_some_and(|extension| extension == "partial");
    let mut out = run.out.clone();
    if run.status.code().is_none() {
        out.retain(|path, _| !path.components().next().is_some_and(|top| is_partial(top.as_ref())));
    }
    if out != *before && out != good.out && !REMOVE.contains(&call) {
        return Some(format!("left: {}", difference(before, &out)));
    }
    let unknown = run.state.iter().find(|(path, content)| {
        let is_known = good.state.get(*path) == Some(content);
        // The next build goes on with part of a blob, and removes what a process left that was ended.
        let is_for_the_next = is_partial(path) || (run.status.code().is_none() && path.starts_with("blobs/incoming"));
        !is_known && !is_for_the_next && !REMOVE.contains(&call)
    });
    unknown.map(|(path, _)| format!("left in the state: {}", path.display()))
}

fn difference(expected: &Files, found: &Files) -> String {
    let paths: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let differ = paths.into_iter().filter(|path| expected.get(*path) != found.get(*path));
    format!("{:?}", differ.collect::<Vec<_>>())
}

fn is_traceable() -> bool {
    let is_there = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    let is_there = is_there.is_ok_and(|output| output.status.success());
    if !is_there {
        skip("strace is not installed, or may trace nothing");
    }
    is_there
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "link", "etc/motd").unwrap();
    tar.into_inner().unwrap()
}

/// An image of a gzip layer and a zstd layer.
fn layout() -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path().join("layout"));
    let lower = tar_of(&[
        ("etc/motd", b"welcome\n"),
        ("etc/hostname", b"lower\n"),
        ("large", &vec![0xA5; 300_000]),
    ]);
    let upper = tar_of(&[
        ("etc/hostname", b"upper\n"),
        ("etc/.wh.motd", b""),
        ("more", &vec![0x5A; 100_000]),
    ]);
    let zstd = zstd::encode_all(&upper[..], 0).unwrap();
    let media_type = "application/vnd.oci.image.layer.v1.tar+zstd";
    let layers = [
        layout.gzip_layer(&lower),
        layout.layer_of(media_type, &zstd, digest(&upper)),
    ];
    let image = layout.pinned(&layout.image(&layers));
    (directory, image)
}

fn build(image: &str, directory: &Path, more: &[&str]) -> Vec<String> {
    let [out, state] = ["out/rootfs.ext4", "state"].map(|name| directory.join(name).to_str().unwrap().to_owned());
    let arguments = [
        "rootfs",
        "build",
        "--arch",
        "amd64",
        "--init",
        "none",
        "--allow-mutable",
        "--size-mib",
        "16",
        "--journal-mib",
        "4",
        "--image",
        image,
        "--out",
        &out,
        "--state-dir",
        &state,
    ];
    arguments
        .iter()
        .chain(more)
        .map(|&argument| argument.to_owned())
        .collect()
}

fn sweep_builds(name: &str, more: &[&str], prepare: fn(&Path)) {
    if !is_traceable() {
        return;
    }
    let (_layout, image) = layout();
    let arguments = Box::new(|directory: &Path| build(&image, directory, more));
    Scenario { arguments, prepare }.sweep(name);
}

#[test]
fn a_build_with_a_stage() {
    sweep_builds("stage", &["--threads", "1", "--keep-stage", "--digest"], |_| {});
}

#[test]
fn a_build_on_several_threads() {
    sweep_builds("threads", &["--threads", "3", "--digest"], |_| {});
}

#[test]
fn a_build_that_keeps_unpacked_layers() {
    sweep_builds("unpacked", &["--threads", "1", "--keep-unpacked"], |_| {});
}

#[test]
fn a_build_in_place_of_a_file() {
    sweep_builds("replacing", &["--threads", "1"], |out| {
        fs::write(out.join("rootfs.ext4"), PRECIOUS).unwrap();
    });
}

#[test]
fn a_build_from_a_registry() {
    if !is_traceable() {
        return;
    }
    let layout = TestLayout::new();
    let tars = [
        tar_of(&[("etc/motd", b"welcome\n")]),
        tar_of(&[("large", &vec![b'x'; 300_000])]),
    ];
    let layers = tars.each_ref().map(|tar| str::from_utf8(tar).unwrap());
    let image = layout.image("linux/amd64", &layers);
    let server = Server::of(&layout, &image, |_, _| None);
    let reference = server.reference("");
    let arguments = Box::new(|directory: &Path| build(&reference, directory, &["--threads", "1"]));
    let prepare = |_: &Path| {};
    Scenario { arguments, prepare }.sweep("registry");
}

#[test]
fn a_copy_out_of_an_image() {
    if !is_traceable() {
        return;
    }
    let (_layout, image) = layout();
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("out")).unwrap();
    succeed(Command::new(program()).args(build(&image, directory.path(), &[])));
    let disk = directory.path().join("out/rootfs.ext4");
    let arguments = Box::new(|directory: &Path| {
        let to = directory.join("out/copy");
        let arguments = [
            "rootfs",
            "inspect",
            disk.to_str().unwrap(),
            "cp",
            "/large",
            to.to_str().unwrap(),
        ];
        arguments.map(str::to_owned).to_vec()
    });
    let prepare = |out: &Path| fs::write(out.join("copy"), PRECIOUS).unwrap();
    Scenario { arguments, prepare }.sweep("copy");
}
