//! Tests of signals: every command ends soon, and leaves no partial file.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::context::{Context, json, microagent, names, stderr, stdout, tar};
use support::single_image::{digest, gzip};
use support::wait::eventually;

/// Bytes of zeros in each gzip member of the slow images.
const MEMBER: usize = 16 << 20;

/// Gzip members of a slow image. Together they have 7 GiB, which take a while to decompress.
const COUNT: usize = 448;

/// Adds an image that takes minutes to build, and returns the digest of its manifest. It has a file
/// of 7 GiB of zeros, in many small gzip members.
fn slow_image(context: &Context) -> String {
    let mut header = tar::Header::new_ustar();
    header.set_path("zeros").unwrap();
    header.set_mode(0o644);
    header.set_size((MEMBER * COUNT) as u64);
    header.set_cksum();
    let blob = [gzip(header.as_bytes()), gzip(&vec![0; MEMBER]).repeat(COUNT)].concat();
    let layer = context.layout.layer(&blob, digest(b"never reached"));
    context.layout.image(&[layer])
}

/// Starts the build of a slow image from a shell command that ends with `exec "$@"`.
fn start(context: &Context, shell: &str) -> Child {
    let image = context.layout.pinned(&slow_image(context));
    start_build(context, &context.build(&image), shell)
}

fn start_build(context: &Context, build: &Command, shell: &str) -> Child {
    let child = Command::new("sh")
        .args(["-c", shell, "sh"])
        .arg(build.get_program())
        .args(build.get_args())
        .args(["--mode", "ax"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    await_output(&child, &context.outputs());
    child
}

/// Waits until the process has a file open in the directory, named or not.
fn await_output(child: &Child, directory: &Path) {
    let descriptors = format!("/proc/{}/fd", child.id());
    let is_open = || {
        let mut open = fs::read_dir(&descriptors)
            .unwrap()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok());
        open.any(|path| path.starts_with(directory))
    };
    assert!(eventually(is_open), "no output after a minute");
}

fn send(signal: &str, child: &Child) {
    // The built-in command of the shell: not every machine has a program `kill`.
    let kill = format!("kill -{signal} {}", child.id());
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(status.success());
}

/// Returns whether this process and its children ignore SIGHUP, as under nohup.
fn ignores_hangups() -> bool {
    ignores(1)
}

/// Returns whether this process and its children ignore a signal.
fn ignores(number: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() >> (number - 1) & 1 != 0
}

#[test]
fn a_signal_leaves_nothing_and_keeps_an_existing_output() {
    for (signal, exit_status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        if signal == "HUP" && ignores_hangups() {
            continue;
        }
        let context = Context::new();
        fs::write(context.output(), "precious").unwrap();
        let child = start(&context, "exec \"$@\"");
        send(signal, &child);
        let sent = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(
            sent.elapsed() < Duration::from_secs(10),
            "{signal}: {:?}",
            sent.elapsed()
        );
        assert_eq!(output.status.code(), Some(exit_status), "{signal}: {}", stderr(&output));
        assert_eq!(stdout(&output), "");
        let failure = json(stderr(&output));
        assert_eq!(failure["error"]["kind"], "transient");
        assert_eq!(failure["error"]["partial_output"], false);
        assert_eq!(fs::read_to_string(context.output()).unwrap(), "precious");
        assert_eq!(context.output_names(), ["rootfs.ext4"]);
    }
}

/// An interrupted read is not mistaken for a damaged blob, which would be removed from the store.
#[test]
fn an_interruption_keeps_the_blobs_in_the_store() {
    let context = Context::new();
    let digest = slow_image(&context);
    let [blobs, kept] = ["layout", "state"].map(|at| context.root.path().join(at).join("blobs/sha256"));
    fs::create_dir_all(&kept).unwrap();
    for name in names(&blobs) {
        fs::copy(blobs.join(&name), kept.join(&name)).unwrap();
    }
    let before = names(&kept);
    // With all blobs in the store, the build sends no request.
    let child = start_build(
        &context,
        &context.build(&format!("127.0.0.1:1/image@{digest}")),
        "exec \"$@\"",
    );
    send("INT", &child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_eq!(names(&kept), before);
}

/// Returns an archive of `docker save` with a layer of 7 GiB, whose size is unknown before it is
/// decompressed.
fn saved(layer: &[u8]) -> Vec<u8> {
    let config = format!(
        r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        digest(b"never reached")
    );
    tar(&[
        ("manifest.json", br#"[{"Config":"c.json","Layers":["layer.tar"]}]"#),
        ("c.json", config.as_bytes()),
        ("layer.tar", layer),
    ])
}

#[test]
fn a_signal_ends_the_reading_of_an_archive() {
    let context = Context::new();
    let zeros = gzip(&vec![0; MEMBER]).repeat(COUNT);
    let (compressed, docker) = (
        context.root.path().join("zeros.gz"),
        context.root.path().join("saved.tar"),
    );
    fs::write(&docker, saved(&zeros)).unwrap();
    fs::write(&compressed, zeros).unwrap();
    let (compressed, docker) = (compressed.display(), docker.display());
    for reference in [
        format!("oci-archive:{compressed}"),
        format!("docker-archive:{compressed}"),
        format!("docker-archive:{docker}"),
        format!("tar:{compressed}"),
        "tar:-".to_owned(),
    ] {
        let mut child = context
            .build(&reference)
            .args(["--allow-mutable", "--mode", "ax"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The pipe stays open and empty.
        let _pipe = child.stdin.take();
        await_output(&child, &context.outputs());
        thread::sleep(Duration::from_millis(300));
        let sent = Instant::now();
        send("INT", &child);
        let output = child.wait_with_output().unwrap();
        assert!(
            sent.elapsed() < Duration::from_secs(10),
            "{reference}: {:?}",
            sent.elapsed()
        );
        assert_eq!(output.status.code(), Some(130), "{reference}: {}", stderr(&output));
        assert_eq!(json(stderr(&output))["error"]["message"], "interrupted");
        assert!(context.output_names().is_empty(), "{reference}");
        let scratch = context.root.path().join("state/tmp");
        assert!(!scratch.exists() || names(&scratch).is_empty(), "{reference}");
    }
}

#[test]
fn a_build_under_nohup_ignores_sighup() {
    let context = Context::new();
    let mut child = start(&context, "trap '' HUP && exec \"$@\"");
    send("HUP", &child);
    thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "SIGHUP ended the build");
    send("TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn simultaneous_signals_end_the_build_once() {
    let context = Context::new();
    let child = start(&context, "exec \"$@\"");
    for signal in ["STOP", "TERM", "INT", "CONT"] {
        send(signal, &child);
    }
    let output = child.wait_with_output().unwrap();
    assert!(matches!(output.status.code(), Some(130 | 143)), "{:?}", output.status);
    assert_eq!(json(stderr(&output))["error"]["kind"], "transient");
}

/// Scripts start background jobs with SIGINT ignored.
#[test]
fn sigint_ends_a_background_job() {
    let context = Context::new();
    let mut child = start(&context, "trap '' INT && exec \"$@\"");
    send("INT", &child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(context.output_names().is_empty());
}

#[test]
fn a_killed_build_leaves_nothing_where_files_can_be_unnamed() {
    let context = Context::new();
    let mut child = start(&context, "exec \"$@\"");
    let unnamed = context.output_names().is_empty();
    send("KILL", &child);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    if unnamed {
        assert!(context.output_names().is_empty(), "{:?}", context.output_names());
    } else {
        assert!(
            context
                .output_names()
                .iter()
                .all(|name| name.starts_with(".microagent-") && name.ends_with(".partial"))
        );
    }
}

/// Length in bytes of a file that takes a moment to copy.
const COPY_LEN: usize = 128 << 20;

/// Starts to copy a large file out of the disk image, and stops the process in the middle.
fn start_copy(context: &Context, to: &Path) -> Child {
    for _ in 0..100 {
        let mut copy = microagent();
        copy.args(["--mode", "ax", "rootfs", "inspect"]).arg(context.output());
        copy.args(["cp", "/large"]).arg(to);
        let mut child = copy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            if is_copying(&child, to.parent().unwrap()) {
                send("STOP", &child);
                // The copy may have ended before the signal came.
                if is_copying(&child, to.parent().unwrap()) {
                    return child;
                }
                send("CONT", &child);
            }
            thread::sleep(Duration::from_millis(1));
        }
        assert!(child.wait().unwrap().success());
        fs::write(to, "precious").unwrap();
    }
    panic!("no copy took long enough to be stopped");
}

/// Returns whether a process has a new file in the directory, with a hidden name or without a name.
fn is_copying(child: &Child, directory: &Path) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", child.id()))
        .into_iter()
        .flatten()
        .flatten();
    let mut targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    let unnamed_prefix = format!("{}/#", directory.display());
    has_hidden_file(directory) || targets.any(|target| target.to_string_lossy().starts_with(&unnamed_prefix))
}

fn has_hidden_file(directory: &Path) -> bool {
    let names = names(directory);
    let hidden: Vec<_> = names.iter().filter(|name| name.starts_with('.')).collect();
    let is_documented = |name: &&String| {
        let random = name
            .strip_prefix(".microagent-")
            .and_then(|name| name.strip_suffix(".partial"));
        random.is_some_and(|random| random.len() == 8)
    };
    assert!(hidden.iter().all(is_documented), "{hidden:?}");
    !hidden.is_empty()
}

#[test]
fn a_signal_during_inspect_cp_keeps_the_existing_file() {
    let context = Context::new();
    let layer = context.layout.gzip_layer(&tar(&[("large", &vec![0xA5; COPY_LEN])]));
    let image = context.layout.pinned(&context.layout.image(&[layer]));
    let build = context.build(&image).output().unwrap();
    assert!(build.status.success(), "{}", stderr(&build));
    let copies = context.root.path().join("copies");
    fs::create_dir(&copies).unwrap();
    let to = copies.join("large");
    for (signal, exit_status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        if signal == "HUP" && ignores_hangups() {
            continue;
        }
        fs::write(&to, "precious").unwrap();
        let child = start_copy(&context, &to);
        send(signal, &child);
        send("CONT", &child);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(exit_status), "{signal}: {}", stderr(&output));
        assert_eq!(stdout(&output), "");
        let failure = json(stderr(&output));
        assert_eq!(failure["error"]["kind"], "transient");
        assert_eq!(failure["error"]["message"], "interrupted");
        assert_eq!(fs::read_to_string(&to).unwrap(), "precious");
        assert_eq!(names(&copies), ["large"]);
    }
    let child = start_copy(&context, &to);
    send("CONT", &child);
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(fs::metadata(&to).unwrap().len(), COPY_LEN as u64);
    assert_eq!(names(&copies), ["large"]);
}

/// Returns a server that accepts connections and never answers, and its address.
fn silent_server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Each of these commands waits or works for hours.
#[test]
fn a_signal_ends_every_command_that_waits() {
    let context = Context::new();
    let names: Vec<_> = (0..3000).map(|number| format!("a-file-with-a-name-{number}")).collect();
    let mut files: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &b""[..])).collect();
    let large = vec![0xA5; 1 << 20];
    files.push(("large", &large));
    let layer = context.layout.gzip_layer(&tar(&files));
    let image = context.layout.pinned(&context.layout.image(&[layer]));
    let build = context.build(&image).output().unwrap();
    assert!(build.status.success(), "{}", stderr(&build));
    let disk = context.output();
    let empty = context.root.path().join("empty.ext4");
    let other = Context::new();
    let layer = other.layout.gzip_layer(&tar(&[]));
    let image = other.layout.pinned(&other.layout.image(&[layer]));
    assert!(other.build(&image).output().unwrap().status.success());
    fs::rename(other.output(), &empty).unwrap();
    // Hashing this takes hours.
    let endless = context.root.path().join("endless.ext4");
    fs::copy(&disk, &endless).unwrap();
    fs::File::options()
        .write(true)
        .open(&endless)
        .unwrap()
        .set_len(1 << 43)
        .unwrap();
    let state = context.root.path().join("state");
    let blob = state.join("blobs/sha256").join("0".repeat(64));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(blob.parent().unwrap())
        .unwrap();
    let blob = fs::File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(blob)
        .unwrap();
    blob.set_len(1 << 43).unwrap();
    let (_listener, silent) = silent_server();

    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let sha = format!("sha256:{}", "0".repeat(64));
    for arguments in [
        vec!["rootfs", "inspect", &path(&disk), "cat", "/large"],
        vec!["rootfs", "inspect", &path(&disk), "ls"],
        vec!["rootfs", "diff", &path(&disk), &path(&empty)],
        vec!["rootfs", "verify", &path(&endless), "--digest", &sha],
        vec!["cache", "verify", "--state-dir", &path(&state)],
        vec!["registry", "login", &silent, "-u", "me", "--password-stdin"],
        vec!["registry", "login", "127.0.0.1:1", "-u", "me", "--password-stdin"],
    ] {
        for (signal, number) in [("INT", 2), ("TERM", 15)] {
            if ignores(number) {
                continue;
            }
            let mut command = microagent();
            command
                .args(&arguments)
                .env("HOME", context.root.path())
                .env_remove("REGISTRY_AUTH_FILE");
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take();
            if arguments.contains(&&*silent) {
                stdin.take().unwrap().write_all(b"password").unwrap();
            }
            // The output is not read, and a pipe holds 64 KiB.
            thread::sleep(Duration::from_millis(500));
            assert_eq!(child.try_wait().unwrap(), None, "{arguments:?}");
            send(signal, &child);
            assert!(
                eventually(|| child.try_wait().unwrap().is_some()),
                "{arguments:?} does not end on SIG{signal}"
            );
            let status = child.wait().unwrap();
            let ended = status.signal() == Some(number) || status.code() == Some(128 + number);
            assert!(ended, "{arguments:?}: {status}");
        }
    }
}
