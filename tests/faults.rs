//! Commands in which strace makes one system call fail. The command must succeed, or fail with a
//! message and without a partial result.
//!
//! A first run of each command counts the calls of each thread. Further runs each make one of these
//! calls fail with one of [`ERRORS`]. By default, a sample of these faults is tried.
//! `FAULT_SWEEP=all` tries all, which takes minutes.
//!
//! strace counts calls by thread: a fault in the third `write` occurs in each thread that makes
//! three.
//!
//! Needs Linux and strace. Where they are missing, the tests are skipped, or fail if
//! `REQUIRE_ORACLES=1`.
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

/// Errors that calls fail with.
const ERRORS: [&str; 3] = ["EIO", "ENOSPC", "ENOMEM"];

/// Greatest number of faults of a command in a sample.
const SAMPLE: usize = 40;

/// Content of an output that exists before the command runs.
const PRECIOUS: &str = "precious";

/// Calls without faults: their names, a text that must be in their line of the log, and the reason.
const EXCLUDED: [(&[&str], &str, &str); 12] = [
    (
        &["execve", "exit", "exit_group", "restart_syscall", "rt_sigreturn"],
        "",
        "they start or end a process or a handler, or resume a call",
    ),
    (
        &["arch_prctl", "futex", "rseq", "set_robust_list", "set_tid_address"],
        "",
        "the C library cannot continue without them, and prints no message",
    ),
    (&["brk"], "", "it returns no error, and the C library checks for none"),
    (
        &["rt_sigaction"],
        "SIGPIPE",
        "Rust aborts if it cannot ignore the signal",
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
        "Rust aborts if it cannot poll its standard streams",
    ),
    (
        &["socketpair"],
        "",
        "tokio panics without the socket pair that signals wake it through",
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
    (&["write"], "(2<", "without standard error, no message can be printed"),
];

/// Calls that allocate memory. Rust aborts the process if they fail, and temporary files remain.
const ALLOCATION: [&str; 5] = ["madvise", "mmap", "mprotect", "mremap", "munmap"];

/// Calls that remove files. If they fail, the files remain.
const REMOVAL: [&str; 3] = ["rmdir", "unlink", "unlinkat"];

/// Failures outside of this program: a text on standard error, and the reason.
const FOREIGN_FAILURES: [(&str, &str); 2] = [
    (
        "error while loading shared libraries",
        "the dynamic loader prints it before the program starts",
    ),
    (
        "unexpected error during closedir",
        "Rust panics, and the kernel has no reason for an error",
    ),
];

/// Returns the arguments of a command that works in a directory.
type Arguments<'a> = dyn Fn(&Path) -> Vec<String> + Sync + 'a;

/// A command to run with faults.
struct Scenario<'a> {
    /// Returns the arguments for a run's directory. Its subdirectory `out` is for outputs.
    arguments: Box<Arguments<'a>>,
    /// Creates files in the directory for outputs before the run.
    prepare: fn(&Path),
}

/// A fault: the name of the call, its number (from 1) among a thread's calls of that name, and the
/// error.
type Fault = (String, usize, &'static str);

/// Digests of files, targets of symlinks, and a marker for directories, by relative path.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A run of a command under strace.
struct Run {
    status: ExitStatus,
    stderr: String,
    /// The log that strace wrote.
    log: String,
    /// Files in the directory for outputs.
    out: Files,
    /// Files in the state directory.
    state: Files,
}

impl Scenario<'_> {
    /// Runs the command in a new directory under strace, with these options of strace. Fails if the
    /// run takes a minute.
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
        // Otherwise, the log has hundreds of calls that read certificates.
        command
            .env("SSL_CERT_FILE", "/dev/null")
            .env("SSL_CERT_DIR", "/nonexistent");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&stderr).unwrap());
        // Killing strace alone would not end the command.
        let mut child = command.process_group(0).spawn().unwrap();
        if !eventually(|| child.try_wait().unwrap().is_some()) {
            let group = format!("-{}", child.id());
            succeed(Command::new("kill").args(["-KILL", "--", &group]));
            child.wait().unwrap();
            let log = fs::read_to_string(&log).unwrap();
            return Err(format!("the command hangs: {}", injected(&log)));
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

    /// Runs the command once per fault, and panics if one of the runs ends badly.
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
        let failures = Mutex::new(Vec::new());
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
                    Ok(run) => find_problem(&run, call, &before, &good),
                    Err(problem) if is_excluded(call, &problem) => None,
                    Err(problem) => Some(problem),
                };
                if let Some(problem) = problem {
                    failures.lock().unwrap().push(format!("{call} {nr} {error}: {problem}"));
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().unwrap().get() {
                scope.spawn(work);
            }
        });
        let (failures, count) = (failures.into_inner().unwrap(), all.len().div_ceil(step));
        assert!(count >= SAMPLE.min(all.len()) / 2, "only {count} faults");
        assert!(
            failures.is_empty(),
            "{name}: {} of {count} faults:\n{}",
            failures.len(),
            failures.join("\n")
        );
        print_uncaptured(&format!("{name}: {count} of {} faults\n", all.len()));
    }
}

/// Returns all files below a directory; none if it does not exist.
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

/// Returns the calls in a log, each with its thread.
fn calls(log: &str) -> impl Iterator<Item = (&str, &str)> {
    log.lines().filter_map(|line| {
        let (thread, call) = line.split_once(' ')?;
        let call = call.trim_start();
        call.starts_with(|first: char| first.is_ascii_lowercase())
            .then_some((thread, call))
    })
}

/// Returns the name of a call from its line in the log.
fn name(call: &str) -> &str {
    call.split('(').next().unwrap_or_default()
}

/// Returns all faults for the calls in a log, except for [`EXCLUDED`] ones.
fn faults(log: &str) -> Vec<Fault> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let (mut all, mut excluded) = (BTreeSet::new(), BTreeSet::new());
    for (thread, call) in calls(log) {
        let count = counts.entry((thread, name(call))).or_default();
        *count += 1;
        all.insert((name(call), *count));
        if is_excluded(name(call), call) {
            excluded.insert((name(call), *count));
        }
    }
    let chosen = all.difference(&excluded);
    chosen
        .flat_map(|(call, nr)| ERRORS.map(|error| ((*call).to_owned(), *nr, error)))
        .collect()
}

/// Returns whether a call of this name, with this line in the log, is [`EXCLUDED`].
fn is_excluded(name: &str, line: &str) -> bool {
    let mut rules = EXCLUDED.iter();
    rules.any(|(names, part, _)| names.contains(&name) && line.contains(part))
}

/// Returns the lines of the calls in a log that strace made fail.
fn injected(log: &str) -> String {
    let mut unfinished = BTreeMap::new();
    let mut injected = String::new();
    for line in log.lines() {
        let thread = line.split(' ').next();
        if line.ends_with("<unfinished ...>") {
            unfinished.insert(thread, line);
        } else if line.ends_with("(INJECTED)") {
            // If another thread made a call meanwhile, the arguments are in an earlier line.
            let arguments = unfinished.remove(&thread).filter(|_| line.contains("<... "));
            writeln!(injected, "  {}{line}", arguments.unwrap_or_default()).unwrap();
        }
    }
    injected
}

/// Returns what is wrong with the result of a run in which a call failed, if anything. `before` are
/// the prepared outputs, `good` is the run without a fault.
fn find_problem(run: &Run, call: &str, before: &Files, good: &Run) -> Option<String> {
    let injected = injected(&run.log);
    let is_excused = |line: &str| is_excluded(call, line);
    if FOREIGN_FAILURES.iter().any(|(part, _)| run.stderr.contains(part)) || injected.lines().any(is_excused) {
        return None;
    }
    let problem = match run.status.code() {
        None if ALLOCATION.contains(&call) => leftovers(run, call, before, good),
        Some(_) if run.stderr.contains("panicked") => Some("it panicked".to_owned()),
        Some(0) if run.out != good.out => Some(format!("the output differs: {}", difference(&good.out, &run.out))),
        Some(0) => None,
        Some(1) if message(&run.stderr).is_none() => Some("no message".to_owned()),
        Some(1) if run.stderr.contains("the command succeeded") && run.out == good.out => None,
        Some(1) => leftovers(run, call, before, good),
        status => Some(format!("status {status:?}")),
    };
    problem.map(|problem| format!("{problem}\n{injected}{}: {}", run.status, run.stderr))
}

/// Returns the message of an error in JSON.
fn message(stderr: &str) -> Option<String> {
    let json: Value = serde_json::from_str(stderr.lines().last()?).ok()?;
    json["error"]["message"].as_str().map(str::to_owned)
}

/// Returns which files a failed run should have removed, if any.
fn leftovers(run: &Run, call: &str, before: &Files, good: &Run) -> Option<String> {
    let is_partial = |path: &Path| path.extension().is_some_and(|extension| extension == "partial");
    let mut out = run.out.clone();
    if run.status.code().is_none() {
        out.retain(|path, _| !path.components().next().is_some_and(|top| is_partial(top.as_ref())));
    }
    if out != *before && out != good.out && !REMOVAL.contains(&call) {
        return Some(format!("left in the output directory: {}", difference(before, &out)));
    }
    let unknown = run.state.iter().find(|(path, content)| {
        let is_known = good.state.get(*path) == Some(content);
        // The next build resumes a partial blob, and removes the files of an aborted process.
        let is_temporary = is_partial(path) || (run.status.code().is_none() && path.starts_with("blobs/incoming"));
        !is_known && !is_temporary && !REMOVAL.contains(&call)
    });
    unknown.map(|(path, _)| format!("left in the state directory: {}", path.display()))
}

/// Returns the paths of files that differ.
fn difference(expected: &Files, found: &Files) -> String {
    let paths: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let differ = paths.into_iter().filter(|path| expected.get(*path) != found.get(*path));
    format!("{:?}", differ.collect::<Vec<_>>())
}

/// Returns whether strace works. Otherwise, reports the test as skipped.
fn can_trace() -> bool {
    let can_trace = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    let can_trace = can_trace.is_ok_and(|output| output.status.success());
    if !can_trace {
        skip("strace is not installed, or has no permission to trace");
    }
    can_trace
}

/// Returns a tar of files, and a symlink.
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

/// Creates a layout with an image of a gzip layer and a zstd layer, and returns its reference.
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

/// Returns the arguments of a build in a run's directory.
fn build(image: &str, directory: &Path, options: &[&str]) -> Vec<String> {
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
        .chain(options)
        .map(|&argument| argument.to_owned())
        .collect()
}

/// Runs a build of a layout with faults.
fn sweep_builds(name: &str, options: &[&str], prepare: fn(&Path)) {
    if !can_trace() {
        return;
    }
    let (_layout, image) = layout();
    let arguments = Box::new(|directory: &Path| build(&image, directory, options));
    Scenario { arguments, prepare }.sweep(name);
}

#[test]
fn build_with_a_stage() {
    sweep_builds("stage", &["--threads", "1", "--keep-stage", "--digest"], |_| {});
}

#[test]
fn build_on_several_threads() {
    sweep_builds("threads", &["--threads", "3", "--digest"], |_| {});
}

#[test]
fn build_that_caches_tars() {
    sweep_builds("unpacked", &["--threads", "1", "--keep-unpacked"], |_| {});
}

#[test]
fn build_that_replaces_a_file() {
    sweep_builds("replacing", &["--threads", "1"], |out| {
        fs::write(out.join("rootfs.ext4"), PRECIOUS).unwrap();
    });
}

#[test]
fn build_from_a_registry() {
    if !can_trace() {
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
fn copy_of_a_file_out_of_an_image() {
    if !can_trace() {
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
