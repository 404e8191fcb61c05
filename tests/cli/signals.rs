//! What a signal leaves: nothing.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::scene::{Scene, json, microagent, names, stderr, stdout, tar};
use support::single_image::{digest, gzip};
use support::wait::eventually;

/// Bytes of zeros in one of the gzip members that all here is made of.
const MEMBER: usize = 16 << 20;

/// Members that it takes a while to decompress: 7 GiB.
const COUNT: usize = 448;

/// An image that takes minutes to build, and the digest of its manifest: a file of 7 GiB of zeros, made of many gzip members of
/// which each is small.
fn slow_image(scene: &Scene) -> String {
    let mut header = tar::Header::new_ustar();
    header.set_path("zeros").unwrap();
    header.set_mode(0o644);
    header.set_size((MEMBER * COUNT) as u64);
    header.set_cksum();
    let blob = [gzip(header.as_bytes()), gzip(&vec![0; MEMBER]).repeat(COUNT)].concat();
    let layer = scene.layout.layer(&blob, digest(b"never reached"));
    scene.layout.image(&[layer])
}

/// A build of a slow image, begun by a shell command that ends with `exec "$@"`.
fn start(scene: &Scene, shell: &str) -> Child {
    let image = scene.layout.pinned(&slow_image(scene));
    start_build(scene, &scene.build(&image), shell)
}

fn start_build(scene: &Scene, build: &Command, shell: &str) -> Child {
    let child = Command::new("sh")
        .args(["-c", shell, "sh"])
        .arg(build.get_program())
        .args(build.get_args())
        .args(["--mode", "ax"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    await_output(&child, &scene.outputs());
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
    // The shell's own: a program of this name is not everywhere.
    let kill = format!("kill -{signal} {}", child.id());
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(status.success());
}

/// Whether this process ignores SIGHUP, under nohup, and so does all that it starts.
fn ignores_hangups() -> bool {
    ignores(1)
}

/// Returns whether this process, and so all that it starts, ignores a signal.
fn ignores(number: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() >> (number - 1) & 1 != 0
}

#[test]
fn a_signal_leaves_nothing_and_an_existing_file_as_it_was() {
    for (signal, exit_status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        if signal == "HUP" && ignores_hangups() {
            continue;
        }
        let scene = Scene::new();
        fs::write(scene.output(), "precious").unwrap();
        let child = start(&scene, "exec \"$@\"");
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
        assert_eq!(fs::read_to_string(scene.output()).unwrap(), "precious");
        assert_eq!(scene.left(), ["rootfs.ext4"]);
    }
}

/// What is read no further is not damaged.
#[test]
fn an_interruption_leaves_the_store_as_it_was() {
    let scene = Scene::new();
    let digest = slow_image(&scene);
    let [blobs, kept] = ["layout", "state"].map(|at| scene.root.path().join(at).join("blobs/sha256"));
    fs::create_dir_all(&kept).unwrap();
    for name in names(&blobs) {
        fs::copy(blobs.join(&name), kept.join(&name)).unwrap();
    }
    let before = names(&kept);
    // With all of it in the store, nobody is asked for anything.
    let child = start_build(
        &scene,
        &scene.build(&format!("127.0.0.1:1/image@{digest}")),
        "exec \"$@\"",
    );
    send("INT", &child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_eq!(names(&kept), before);
}

/// An archive of `docker save` with a layer of 7 GiB, whose size nobody knows before it is decompressed.
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
fn a_signal_is_noticed_before_the_image_is_known() {
    let scene = Scene::new();
    let zeros = gzip(&vec![0; MEMBER]).repeat(COUNT);
    let (compressed, docker) = (scene.root.path().join("zeros.gz"), scene.root.path().join("saved.tar"));
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
        let mut child = scene
            .build(&reference)
            .args(["--allow-mutable", "--mode", "ax"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Nothing comes through it, and it stays open.
        let _pipe = child.stdin.take();
        await_output(&child, &scene.outputs());
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
        assert!(scene.left().is_empty(), "{reference}");
        let scratch = scene.root.path().join("state/tmp");
        assert!(!scratch.exists() || names(&scratch).is_empty(), "{reference}");
    }
}

#[test]
fn a_build_under_nohup_survives_its_terminal() {
    let scene = Scene::new();
    let mut child = start(&scene, "trap '' HUP && exec \"$@\"");
    send("HUP", &child);
    thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "SIGHUP ended it");
    send("TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn signals_that_come_together_are_one() {
    let scene = Scene::new();
    let child = start(&scene, "exec \"$@\"");
    for signal in ["STOP", "TERM", "INT", "CONT"] {
        send(signal, &child);
    }
    let output = child.wait_with_output().unwrap();
    assert!(matches!(output.status.code(), Some(130 | 143)), "{:?}", output.status);
    assert_eq!(json(stderr(&output))["error"]["kind"], "transient");
}

/// Scripts start background jobs with SIGINT ignored.
#[test]
fn a_background_job_can_be_interrupted() {
    let scene = Scene::new();
    let mut child = start(&scene, "trap '' INT && exec \"$@\"");
    send("INT", &child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(scene.left().is_empty());
}

#[test]
fn a_killed_process_leaves_nothing_where_files_can_be_nameless() {
    let scene = Scene::new();
    let mut child = start(&scene, "exec \"$@\"");
    let is_nameless = scene.left().is_empty();
    send("KILL", &child);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    if is_nameless {
        assert!(scene.left().is_empty(), "{:?}", scene.left());
    } else {
        assert!(
            scene
                .left()
                .iter()
                .all(|name| name.starts_with(".microagent-") && name.ends_with(".partial"))
        );
    }
}

/// Bytes of a file that it takes a moment to copy.
const COPY_LEN: usize = 128 << 20;

/// Starts to copy a large file out of the disk image, and stops the process with half of it done.
fn start_copy(scene: &Scene, to: &Path) -> Child {
    for _ in 0..100 {
        let mut copy = microagent();
        copy.args(["--mode", "ax", "rootfs", "inspect"]).arg(scene.output());
        copy.args(["cp", "/large"]).arg(to);
        let mut child = copy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            if is_copying(&child, to.parent().unwrap()) {
                send("STOP", &child);
                // It may have been done before the signal came.
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

/// Returns whether a process has a new file in the directory, with a hidden name or without any.
fn is_copying(child: &Child, directory: &Path) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", child.id()))
        .into_iter()
        .flatten()
        .flatten();
    let mut targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    let nameless = format!("{}/#", directory.display());
    has_hidden_file(directory) || targets.any(|target| target.to_string_lossy().starts_with(&nameless))
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
fn a_signal_during_inspect_cp() {
    let scene = Scene::new();
    let layer = scene.layout.gzip_layer(&tar(&[("large", &vec![0xA5; COPY_LEN])]));
    let image = scene.layout.pinned(&scene.layout.image(&[layer]));
    let build = scene.build(&image).output().unwrap();
    assert!(build.status.success(), "{}", stderr(&build));
    let copies = scene.root.path().join("copies");
    fs::create_dir(&copies).unwrap();
    let to = copies.join("large");
    for (signal, exit_status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        if signal == "HUP" && ignores_hangups() {
            continue;
        }
        fs::write(&to, "precious").unwrap();
        let child = start_copy(&scene, &to);
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
    let child = start_copy(&scene, &to);
    send("CONT", &child);
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(fs::metadata(&to).unwrap().len(), COPY_LEN as u64);
    assert_eq!(names(&copies), ["large"]);
}

/// A server that takes connections, and says nothing.
fn silent_server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Each of these waits, or works, for hours.
#[test]
fn a_signal_ends_every_command_that_waits() {
    let scene = Scene::new();
    let names: Vec<_> = (0..3000).map(|number| format!("a-file-with-a-name-{number}")).collect();
    let mut files: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &b""[..])).collect();
    let large = vec![0xA5; 1 << 20];
    files.push(("large", &large));
    let layer = scene.layout.gzip_layer(&tar(&files));
    let image = scene.layout.pinned(&scene.layout.image(&[layer]));
    let build = scene.build(&image).output().unwrap();
    assert!(build.status.success(), "{}", stderr(&build));
    let disk = scene.output();
    let empty = scene.root.path().join("empty.ext4");
    let other = Scene::new();
    let layer = other.layout.gzip_layer(&tar(&[]));
    let image = other.layout.pinned(&other.layout.image(&[layer]));
    assert!(other.build(&image).output().unwrap().status.success());
    fs::rename(other.output(), &empty).unwrap();
    // Hashing this takes hours.
    let endless = scene.root.path().join("endless.ext4");
    fs::copy(&disk, &endless).unwrap();
    fs::File::options()
        .write(true)
        .open(&endless)
        .unwrap()
        .set_len(1 << 43)
        .unwrap();
    let state = scene.root.path().join("state");
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
                .env("HOME", scene.root.path())
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
            // Nobody reads what it prints, and a pipe holds 64 KiB.
            thread::sleep(Duration::from_millis(500));
            assert_eq!(child.try_wait().unwrap(), None, "{arguments:?}");
            send(signal, &child);
            assert!(
                eventually(|| child.try_wait().unwrap().is_some()),
                "{arguments:?} is deaf to {signal}"
            );
            let status = child.wait().unwrap();
            let is_ended = status.signal() == Some(number) || status.code() == Some(128 + number);
            assert!(is_ended, "{arguments:?}: {status}");
        }
    }
}
