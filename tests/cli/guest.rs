//! Tests of `--init` and `--exec`: what a build adds so that the image boots, and how it fails.

use std::process::Output;

use ext4_view::{Ext4, FileType};
use serde_json::{Value, json};

use super::context::{Context, failure, json, stderr, stdout};
use support::tar::Entry;

const INIT: &str = "/sbin/microagent-init";

fn program(name: &str) -> Entry {
    Entry {
        mode: 0o755,
        ..Entry::file(name, b"#!")
    }
}

/// Builds an image of these entries, with this section `config` of its OCI config, and with more
/// arguments.
fn built(entries: &[Entry], execution: &Value, arguments: &[&str]) -> (Context, Output) {
    let context = Context::new();
    let tar: Vec<u8> = entries.iter().flat_map(Entry::bytes).chain([0; 1024]).collect();
    let digest = context
        .layout
        .image_that_runs(&[context.layout.gzip_layer(&tar)], execution);
    let reference = context.layout.pinned(&digest);
    let output = context
        .build(&reference)
        .args(["--size-mib", "16"])
        .args(arguments)
        .output();
    (context, output.unwrap())
}

/// Builds an image, which must succeed, and returns the file system.
fn tree(entries: &[Entry], execution: &Value, arguments: &[&str]) -> Ext4 {
    let (context, output) = built(entries, execution, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    Ext4::load(Box::new(std::fs::read(context.output()).unwrap())).unwrap()
}

fn command() -> Value {
    json!({"Cmd": ["/bin/command"]})
}

#[test]
fn init_is_owned_by_root_and_leaves_sbin_init() {
    let tree = tree(&[program("sbin/init")], &command(), &[]);
    let metadata = tree.metadata(INIT).unwrap();
    assert_eq!((metadata.mode(), metadata.uid(), metadata.gid()), (0o755, 0, 0));
    let init = tree.read(INIT).unwrap();
    assert!(init.starts_with(b"\x7fELF"));
    assert!(init.windows(13).any(|window| window == b"/bin/command\0"));
    assert_eq!(tree.read("/sbin/init").unwrap(), b"#!");
}

#[test]
fn events_omit_arguments_and_variables_of_the_command() {
    let execution = json!({"Cmd": ["/bin/command", "--password", "hunter2"], "Env": ["TOKEN=hunter3"], "User": "7:8"});
    for arguments in [&["-vv"][..], &["-vv", "--exec", "command hunter4"]] {
        let (_context, output) = built(&[program("bin/sh")], &execution, arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let events = stderr(&output);
        let command = if arguments.len() == 1 {
            "/bin/command"
        } else {
            "/bin/sh"
        };
        let event = format!("installed the init path={INIT} command={command} arguments=2 variables=3 user=7 group=8");
        assert!(events.contains(&event), "{event}: {events}");
        assert!(!events.contains("hunter") && !events.contains("TOKEN"), "{events}");
    }
}

#[test]
fn directories_that_the_init_needs_are_created() {
    let execution = json!({"Cmd": ["x"], "WorkingDir": "srv/a/b"});
    let tmp = Entry {
        mode: 0o700,
        ..Entry::directory("tmp")
    };
    let tree = tree(&[tmp], &execution, &[]);
    for (path, mode) in [
        ("/proc", 0o755),
        ("/sys", 0o755),
        ("/dev", 0o755),
        ("/run", 0o755),
        ("/tmp", 0o700),
        ("/srv/a/b", 0o755),
    ] {
        let metadata = tree.metadata(path).unwrap();
        assert_eq!(
            (metadata.file_type(), metadata.mode()),
            (FileType::Directory, mode),
            "{path}"
        );
    }
}

#[test]
fn the_path_of_the_init_follows_the_images_symlinks() {
    let entries = [Entry::symlink("sbin", "/usr/sbin"), Entry::directory("usr/sbin")];
    let merged = tree(&entries, &command(), &[]);
    assert_eq!(merged.symlink_metadata("/sbin").unwrap().file_type(), FileType::Symlink);
    assert!(merged.exists("/usr/sbin/microagent-init").unwrap());

    let entries = [Entry::symlink("opt", "../../../outside")];
    let elsewhere = tree(&entries, &command(), &["--init", "/opt/deep/init"]);
    assert!(elsewhere.exists("/outside/deep/init").unwrap());
    assert!(!elsewhere.exists(INIT).unwrap());
}

#[test]
fn init_replaces_a_symlink_but_not_a_directory() {
    let entries = [program("bin/sh"), Entry::symlink("sbin/microagent-init", "/bin/sh")];
    let replaced = tree(&entries, &command(), &[]);
    assert_eq!(replaced.symlink_metadata(INIT).unwrap().file_type(), FileType::Regular);
    assert_eq!(replaced.read("/bin/sh").unwrap(), b"#!");

    let (context, output) = built(
        &[Entry::directory("sbin/microagent-init")],
        &command(),
        &["--mode", "ax"],
    );
    assert_eq!(failure(&output)["kind"], "conflict");
    assert!(context.output_names().is_empty());
}

#[test]
fn init_in_place_of_its_command_is_an_error() {
    for (init, entries, execution, arguments) in [
        ("/init", vec![program("init")], json!({"Entrypoint": ["/init"]}), vec![]),
        (
            "/usr/bin/run",
            vec![program("usr/bin/run"), Entry::symlink("bin", "usr/bin")],
            json!({"Cmd": ["/bin/run"]}),
            vec![],
        ),
        ("/bin/sh", vec![program("bin/sh")], command(), vec!["--exec", "true"]),
    ] {
        let arguments = [&["--mode", "ax", "--init", init], &arguments[..]].concat();
        let (context, output) = built(&entries, &execution, &arguments);
        let error = failure(&output);
        assert_eq!(error["kind"], "conflict", "{error}");
        assert!(error["message"].as_str().unwrap().contains(init), "{error}");
        assert!(error["remediation"].as_str().unwrap().contains("--init"), "{error}");
        assert!(context.output_names().is_empty());
    }
    // Replacing one name of the shell keeps its other names.
    let entries = [program("bin/busybox"), Entry::hard_link("bin/sh", "bin/busybox")];
    let arguments = ["--init", "/bin/busybox", "--exec", "true"];
    assert!(tree(&entries, &json!({}), &arguments).exists("/bin/sh").unwrap());
}

#[test]
fn init_none_adds_no_file() {
    let (_, output) = built(&[], &json!({}), &["--init", "none", "--json"]);
    assert_eq!(json(stdout(&output))["init_path"], Value::Null);
    let tree = tree(&[], &json!({"WorkingDir": "/srv"}), &["--init", "none"]);
    let entries = tree.read_dir("/").unwrap().map(Result::unwrap);
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().as_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, [".", "..", "lost+found"]);
}

#[test]
fn image_bytes_depend_on_the_exec_command() {
    let bytes = |exec: &str| {
        let (context, output) = built(&[program("bin/sh")], &json!({}), &["--exec", exec]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        std::fs::read(context.output()).unwrap()
    };
    let first = bytes("true");
    assert!(first == bytes("true"));
    assert!(first != bytes("false"));
}

#[test]
fn a_shell_is_found_through_symlinks() {
    let entries = [
        Entry::symlink("bin", "usr/bin"),
        program("usr/bin/dash"),
        Entry::symlink("usr/bin/sh", "dash"),
    ];
    let tree = tree(&entries, &json!({}), &["--exec", "echo"]);
    assert!(tree.exists(INIT).unwrap());
}

#[test]
fn an_image_that_cannot_boot_is_an_error_with_a_hint() {
    let passwd = Entry::file("etc/passwd", b"ana:x:1000:1000::/:\n");
    let not_executable = Entry::file("bin/sh", b"#!");
    let file = Entry::file("srv", b"");
    for (entries, execution, arguments, kind, message, remediation) in [
        (
            vec![],
            json!({}),
            vec![],
            "permanent",
            "neither Entrypoint nor Cmd",
            "--exec",
        ),
        (
            vec![],
            json!({}),
            vec!["--exec", "x"],
            "not_found",
            "/bin/sh",
            "omit --exec",
        ),
        (
            vec![not_executable],
            json!({}),
            vec!["--exec", "x"],
            "not_found",
            "/bin/sh",
            "omit --exec",
        ),
        (
            vec![passwd.clone()],
            json!({"Cmd": ["x"], "User": "eve"}),
            vec![],
            "not_found",
            "\"eve\"",
            "--init none",
        ),
        (
            vec![passwd],
            json!({"Cmd": ["x"], "User": "ana:eve"}),
            vec![],
            "not_found",
            "group \"eve\"",
            "--init none",
        ),
        (
            vec![file],
            json!({"Cmd": ["x"], "WorkingDir": "/srv/x"}),
            vec![],
            "permanent",
            "\"/srv/x\"",
            "--init none",
        ),
        (
            vec![],
            json!({"Cmd": ["x", "y".repeat(131_072)]}),
            vec![],
            "permanent",
            "argument 1 of the command has 131072 bytes",
            "--exec",
        ),
        (
            vec![],
            json!({"Cmd": ["x"], "WorkingDir": format!("/{}", "d/".repeat(3000))}),
            vec![],
            "permanent",
            "the working directory has a path of 6001 bytes",
            "--init none",
        ),
        (
            vec![],
            json!({"Cmd": ["x"], "StopSignal": "STOPIT"}),
            vec![],
            "permanent",
            "STOPIT",
            "--init none",
        ),
        (
            vec![Entry::symlink("sbin", "sbin")],
            command(),
            vec![],
            "permanent",
            "could not follow \"/sbin\"",
            "--init none",
        ),
    ] {
        let (context, output) = built(&entries, &execution, &[&["--mode", "ax"], &arguments[..]].concat());
        let error = failure(&output);
        assert_eq!(error["kind"], kind, "{error}");
        assert!(error["message"].as_str().unwrap().contains(message), "{error}");
        assert!(error["remediation"].as_str().unwrap().contains(remediation), "{error}");
        assert!(context.output_names().is_empty());
    }
}

#[test]
fn invalid_init_and_exec_are_wrong_usage() {
    for (arguments, named) in [
        (&["--init", "none", "--exec", "true"][..], "--exec"),
        (&["--init", "sbin/init"], "--init"),
        (&["--init", "/"], "--init"),
        (&["--init", "/sbin/../init"], "--init"),
        (&["--init", ""], "--init"),
    ] {
        let (context, output) = built(&[], &command(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(named), "{}", stderr(&output));
        assert!(context.output_names().is_empty());
    }
}
