//! What a signal leaves: nothing.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::scene::{Scene, json, names, stderr, stdout, tar};
use support::single_image::{digest, gzip};
use support::wait::is_soon;

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
    assert!(is_soon(is_open), "no output after a minute");
}

fn send(signal: &str, child: &Child) {
    // The shell's own: a program of this name is not everywhere.
    let kill = format!("kill -{signal} {}", child.id());
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(status.success());
}

/// Whether this process ignores SIGHUP, under nohup, and so does all that it starts.
fn ignores_hangups() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 != 0
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
