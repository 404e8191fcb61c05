//! The order of writes, fsync and rename: a file is synced before it is published.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs;
use std::path::Path;
use std::process::Command;

use support::oracles::Oracles;
use support::program::{latest, program, rootfs_build, sample};
use support::server::{Reply, Server};

/// System calls that write, sync or name files.
const CALLS: &str =
    "write,pwrite64,writev,pwritev,pwritev2,ftruncate,fallocate,fsync,fdatasync,linkat,rename,renameat,renameat2";

/// Runs a build, and returns the lines of strace's log: one call each, with the paths of
/// descriptors.
fn trace(oracles: &Oracles, out: &Path, arguments: &[&str]) -> Vec<String> {
    let log = oracles.scratch().join("log");
    let build = rootfs_build(&latest(&sample()), "amd64", out);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-qqq", "-e", &format!("trace={CALLS}"), "-o"]);
    strace
        .arg(&log)
        .arg(build.get_program())
        .args(build.get_args())
        .args(arguments);
    assert!(strace.output().unwrap().status.success());
    fs::read_to_string(log).unwrap().lines().map(str::to_owned).collect()
}

/// Returns the lines that write to the file that becomes the output, those that sync it, and the
/// one that publishes it.
fn output_calls(lines: &[String], out: &Path) -> (Vec<usize>, Vec<usize>, usize) {
    let directory = out.parent().unwrap().to_str().unwrap();
    let is_output =
        |line: &str| line.contains(&format!("<{directory}/#")) || line.contains(&format!("<{directory}/.microagent-"));
    let find = |calls: &[&str]| -> Vec<usize> {
        let is_call = |line: &str| calls.iter().any(|call| line.contains(&format!(" {call}(")));
        let found = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| is_call(line) && is_output(line));
        found.map(|(index, _)| index).collect()
    };
    let name = out.file_name().unwrap().to_str().unwrap();
    let published = lines.iter().position(|line| {
        (line.contains(" linkat(") || line.contains(" rename")) && line.contains(&format!("\"{name}\""))
    });
    let writes = find(&[
        "write",
        "pwrite64",
        "writev",
        "pwritev",
        "pwritev2",
        "ftruncate",
        "fallocate",
    ]);
    (writes, find(&["fsync", "fdatasync"]), published.unwrap())
}

/// A power cut is possible between any two calls.
#[test]
fn image_is_synced_before_it_is_published() {
    let Some(oracles) = Oracles::find() else { return };
    for exists in [false, true] {
        let out = oracles.scratch().join("image.ext4");
        let _ = fs::remove_file(&out);
        if exists {
            fs::write(&out, "before").unwrap();
        }
        let lines = trace(&oracles, &out, &[]);
        let (writes, syncs, published) = output_calls(&lines, &out);
        let (last_write, last_sync) = (*writes.last().unwrap(), *syncs.last().unwrap());
        assert!(
            last_write < last_sync && last_sync < published,
            "{last_write}, {last_sync}, {published}: {lines:#?}"
        );

        let lines = trace(&oracles, &out, &["--no-sync"]);
        let (_, syncs, _) = output_calls(&lines, &out);
        assert_eq!(syncs, Vec::<usize>::new(), "--no-sync");
    }
}

#[test]
fn login_is_synced_before_it_is_published() {
    let Some(oracles) = Oracles::find() else { return };
    let home = oracles.scratch().join("home");
    fs::create_dir(&home).unwrap();
    let server = Server::start(|_, _| Reply::status(200));
    let log = oracles.scratch().join("log");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-y", "-qqq", "-e", &format!("trace={CALLS}"), "-o"])
        .arg(&log);
    strace.arg(program());
    strace.args([
        "registry",
        "login",
        &server.address.to_string(),
        "-u",
        "me",
        "--password-stdin",
    ]);
    strace.env("HOME", &home).env_remove("REGISTRY_AUTH_FILE");
    let password = oracles.scratch().join("password");
    fs::write(&password, "p").unwrap();
    let output = strace.stdin(fs::File::open(password).unwrap()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let log = fs::read_to_string(log).unwrap();
    let position = |call: &str, part: &str| {
        let found = log.lines().position(|line| line.contains(call) && line.contains(part));
        found.unwrap_or_else(|| panic!("no {call} of {part} in {log}"))
    };
    let published = position(" rename", "\"auth.json\"");
    let written = position(" write(", "/.microagent/.microagent-");
    let synced = position(" fsync(", "/.microagent/.microagent-");
    assert!(
        written < synced && synced < published,
        "{written}, {synced}, {published}: {log}"
    );
}
