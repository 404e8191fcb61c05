//! Tests of the environment of a command: arguments, variables, user, directory, devices and
//! mounts.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use serde_json::json;

use crate::boot::machine::{AMD64, ARM64, Machine, command_end, hex, rest_of_line};
use support::tar::Entry;

/// Prints the environment of its process, in hexadecimal where it can have any bytes, and exits
/// with 3.
const SHOW: &[u8] = b"#!/bin/sh
hex() { od -An -v -tx1 \"$1\" | tr -d ' \\n'; }
echo \"arguments $(hex /proc/$$/cmdline)\"
echo \"environment $(hex /proc/$$/environ)\"
echo \"directory $(pwd)\"
echo \"user $(id -u) $(id -g) $(id -G)\"
grep Groups /proc/self/status | tr '\\t' ' '
echo \"name $(hostname)\"
echo written >/dev/stdout
(: </dev/tty) && echo 'a terminal controls it'
echo 'loopback answers at port 80' | nc -l -p 80 &
sleep 1; nc -w5 127.0.0.1 80 </dev/null
echo \"ping $(cat /proc/sys/net/ipv4/ping_group_range)\"
ls -d1 /dev/pts/ptmx /dev/shm /dev/fd/0 /dev/null /proc/1 /sys/class /run/lock /tmp/.empty
echo 'quoted' >/run/lock/here && echo temporary >/tmp/here && cat /run/kept /run/lock/here /tmp/here
exit 3
";

#[test]
fn a_command_has_the_environment_of_a_container() {
    for architecture in [AMD64, ARM64] {
        if let Some(machine) = Machine::with_shell(architecture) {
            check_environment_of_a_container(machine);
        }
    }
}

fn check_environment_of_a_container(mut machine: Machine) {
    machine.program("usr/bin/show", SHOW);
    machine.file(
        "etc/passwd",
        b"root:x:0:0::/root:/bin/sh\nana:x:1000:1001::/home/ana:/bin/sh\n",
    );
    machine.file("etc/group", b"root:x:0:\nana:x:1001:\naudio:x:29:ana\n");
    machine.file("etc/hostname", b"testbed\n");
    machine.entries.push(Entry {
        mode: 0o1777,
        ..Entry::directory("run/lock")
    });
    machine.entries.push(Entry {
        mode: 0o1777,
        ..Entry::directory("tmp")
    });
    machine.file("run/kept", b"of the image\n");
    machine.entries.push(Entry {
        uid: 1000,
        ..Entry::directory("tmp/.empty")
    });
    let disk = machine.build(
        &json!({
            "User": "ana",
            "WorkingDir": "/srv/new directory",
            "Env": ["PATH=/nowhere:/usr/bin:/bin", "NASTY=a  b\n$HOME\"'\\ü", "EMPTY="],
            "Entrypoint": ["show", "two words", ""],
            "Cmd": ["\"quoted'", "$HOME `id`", "line\nbreak\t*", "ünïcode"]
        }),
        &[],
    );
    for kernel in disk.architecture.kernels() {
        let console = disk.run(&["--kernel", kernel]);
        assert_eq!(command_end(&console), "status=3");
        let arguments: [&[u8]; 8] = [
            b"/bin/sh",
            b"/usr/bin/show",
            b"two words",
            b"",
            b"\"quoted'",
            b"$HOME `id`",
            b"line\nbreak\t*",
            "ünïcode".as_bytes(),
        ];
        assert_eq!(rest_of_line(&console, "arguments "), hex(&arguments));
        let environment: [&[u8]; 4] = [
            b"PATH=/nowhere:/usr/bin:/bin",
            "NASTY=a  b\n$HOME\"'\\ü".as_bytes(),
            b"EMPTY=",
            b"HOME=/home/ana",
        ];
        assert_eq!(rest_of_line(&console, "environment "), hex(&environment));
        assert_eq!(rest_of_line(&console, "directory "), "/srv/new directory");
        assert_eq!(rest_of_line(&console, "user "), "1000 1001 1001 29");
        assert_eq!(rest_of_line(&console, "Groups: ").trim(), "29 1001");
        assert_eq!(rest_of_line(&console, "name "), "testbed");
        for expected in [
            "written",
            "a terminal controls it",
            "loopback answers at port 80",
            "ping 0\t2147483647",
            "of the image",
            "quoted",
            "temporary",
            "/dev/pts/ptmx",
            "/run/lock",
        ] {
            assert!(console.lines().any(|line| line == expected), "{expected}:\n{console}");
        }
        assert!(!console.contains("No such file"), "{console}");
        assert!(!console.contains("microagent-init: could not"), "{console}");
    }
}

#[test]
fn exec_takes_any_bytes() {
    let Some(machine) = Machine::with_shell(AMD64) else {
        return;
    };
    let command =
        b"printf '<%s>\\n' \"two  words\" '$HOME' \"\xff\xfe\" 'a\nb' | od -An -v -tx1 | tr -d ' \\n'; echo; exit 255";
    let disk = machine.build(
        &json!({"Entrypoint": ["/nothing"]}),
        &["--exec".as_ref(), OsStr::from_bytes(command)],
    );
    let console = disk.run(&[]);
    let expected: String = hex(&[b"<two  words>\n<$HOME>\n<\xff\xfe>\n<a\nb>\n"]);
    assert!(console.contains(expected.strip_suffix("00").unwrap()), "{console}");
    assert_eq!(command_end(&console), "status=255");
}

#[test]
fn an_image_without_a_shell_boots() {
    for architecture in [AMD64, ARM64] {
        let Some(machine) = Machine::with(architecture, &["app/id"]) else {
            return;
        };
        let disk = machine.build(
            &json!({"Entrypoint": ["/app/id"], "User": "65532:65532", "WorkingDir": "/app"}),
            &[],
        );
        let console = disk.run(&[]);
        assert!(console.contains("uid=65532 gid=65532"), "{console}");
        assert_eq!(command_end(&console), "status=0");
    }
}

#[test]
fn a_read_only_root_boots() {
    let Some(mut machine) = Machine::with_shell(AMD64) else {
        return;
    };
    machine.file("run/hidden", b"");
    let command = "touch /here || echo 'root is read-only'; touch /run/here /tmp/here && ls /run; exit 4";
    let disk = machine.build(&json!({}), &["--exec".as_ref(), command.as_ref()]);
    let before = fs::read(disk.image()).unwrap();
    let console = disk.run(&["--ro"]);
    assert!(console.contains("root is read-only"), "{console}");
    assert!(console.lines().any(|line| line == "here"), "{console}");
    assert!(!console.contains("microagent-init: could not"), "{console}");
    assert_eq!(command_end(&console), "status=4");
    assert!(before == fs::read(disk.image()).unwrap(), "the disk was written");
}

#[test]
fn a_command_that_cannot_run_is_explained_on_the_console() {
    for (command, message, status) in [
        (
            "nothing",
            "could not run nothing: no such file or directory",
            "status=127",
        ),
        ("/etc/text", "could not run /etc/text: permission denied", "status=126"),
    ] {
        let Some(mut machine) = Machine::with(AMD64, &["bin/busybox"]) else {
            return;
        };
        machine.file("etc/text", b"text\n");
        let disk = machine.build(&json!({"Entrypoint": [command]}), &[]);
        let console = disk.run(&[]);
        assert_eq!(
            rest_of_line(&console, "microagent-init: could"),
            message.strip_prefix("could").unwrap()
        );
        assert_eq!(command_end(&console), status);
    }
}
