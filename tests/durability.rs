//! The order in which files reach the disk and get their names, as the kernel is asked for it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs;
use std::path::Path;
use std::process::Command;

use support::oracles::Oracles;
use support::program::{latest, program, rootfs_build, sample};
use support::server::{Reply, Server};

/// System calls that write to files, sync or name them.
const CALLS: &str =
    "write,pwrite64,writev,pwritev,pwritev2,ftruncate,fallocate,fsync,fdatasync,linkat,rename,renameat,renameat2";

/// Returns what a build asked of the kernel, one call a line, with the paths of descriptors.
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

/// Returns the positions of the calls on the file that becomes the output: those that write to it,
/// those that sync it, and the one that gives it its name.
fn positions(lines: &[String], out: &Path) -> (Vec<usize>, Vec<usize>, usize) {
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
    let named = lines.iter().position(|line| {
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
    (writes, find(&["fsync", "fdatasync"]), named.unwrap())
}

/// A power cut may come between any two of them.
#[test]
fn an_image_is_on_the_disk_before_it_has_its_name() {
    let Some(oracles) = Oracles::find() else { return };
    for exists in [false, true] {
        let out = oracles.scratch().join("image.ext4");
        let _ = fs::remove_file(&out);
        if exists {
            fs::write(&out, "before").unwrap();
        }
        let lines = trace(&oracles, &out, &[]);
        let (writes, syncs, named) = positions(&lines, &out);
        let (last_write, last_sync) = (*writes.last().unwrap(), *syncs.last().unwrap());
        assert!(
            last_write < last_sync && last_sync < named,
            "{last_write}, {last_sync}, {named}: {lines:#?}"
        );

        let lines = trace(&oracles, &out, &["--no-sync"]);
        let (_, syncs, _) = positions(&lines, &out);
        assert_eq!(syncs, Vec::<usize>::new(), "--no-sync");
    }
}

#[test]
fn a_login_is_on_the_disk_before_it_has_its_name() {
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
    let named = position(" rename", "\"auth.json\"");
    let written = position(" write(", "/.microagent/.microagent-");
    let synced = position(" fsync(", "/.microagent/.microagent-");
    assert!(
        written < synced && synced < named,
        "{written}, {synced}, {named}: {log}"
    );
}
