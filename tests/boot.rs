//! Whole machines: images that boot, run what a container would have run, and leave a clean disk.
//!
//! Needs e2fsck, and what `just machines` fetches into `$BOOT_CACHE`, by default `target/boot`. What is missing skips a test, and
//! fails it where `REQUIRE_ORACLES=1`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod support {
    #[expect(dead_code, reason = "other tests want broken images too")]
    pub(crate) mod single_image;
    pub(crate) mod skip;
    #[expect(dead_code, reason = "other tests want broken tars too")]
    pub(crate) mod tar;
}

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::single_image::Layout;
use support::skip::skip;
use support::tar::Entry;
use tempfile::TempDir;

const KERNELS: [&str; 2] = ["linux-image-cloud-amd64", "linux-image-6.12-cloud-amd64"];

/// Prints what its process was given, in hexadecimal where it can be anything, and exits with 3.
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

/// An image on its way: files around busybox, and how it is run.
struct Machine {
    scratch: TempDir,
    entries: Vec<Entry>,
}

impl Machine {
    /// One with busybox under these names; `None`, with the reason on stderr, where nothing can boot.
    fn with(names: &[&str]) -> Option<Self> {
        let scratch = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        if let Some(kernel) = KERNELS
            .iter()
            .find(|kernel| !cache().join(kernel).join("initramfs").is_file())
        {
            skip(&format!("there is no {kernel} to boot: `just machines` fetches it"));
            return None;
        }
        let busybox = fs::read(cache().join("busybox/bin/busybox")).unwrap();
        let [first, others @ ..] = names else { panic!("no name") };
        let mut machine = Self {
            scratch,
            entries: Vec::new(),
        };
        machine.program(first, &busybox);
        machine
            .entries
            .extend(others.iter().map(|name| Entry::hard_link(name, first)));
        Some(machine)
    }

    /// One with a shell.
    fn with_shell() -> Option<Self> {
        Self::with(&[
            "bin/busybox",
            "bin/sh",
            "bin/cat",
            "bin/dd",
            "bin/grep",
            "bin/hostname",
            "bin/id",
            "bin/kill",
            "bin/ls",
            "bin/od",
            "bin/nc",
            "bin/poweroff",
            "bin/sleep",
            "bin/tr",
            "bin/mount",
            "bin/sync",
            "bin/touch",
        ])
    }

    fn program(&mut self, name: &str, content: &[u8]) {
        self.entries.push(Entry {
            mode: 0o755,
            ..Entry::file(name, content)
        });
    }

    fn file(&mut self, name: &str, content: &[u8]) {
        self.entries.push(Entry::file(name, content));
    }

    fn image(&self) -> PathBuf {
        self.scratch.path().join("machine.ext4")
    }

    /// Builds the image, which must succeed and be clean.
    fn build(&self, execution: &Value, arguments: &[&OsStr]) {
        let layout = Layout::create(self.scratch.path().join("layout"));
        let tar: Vec<u8> = self.entries.iter().flat_map(Entry::bytes).chain([0; 1024]).collect();
        let digest = layout.image_that_runs(&[layout.gzip_layer(&tar)], execution);
        let output = Command::new(env!("CARGO_BIN_EXE_microagent"))
            .args(["rootfs", "build", "--arch", "amd64", "--size-mib", "64", "--image"])
            .arg(layout.pinned(&digest))
            .arg("--out")
            .arg(self.image())
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.assert_clean();
    }

    /// Boots it, and returns what was on the console.
    fn boot(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = rig().arg(self.image()).args(arguments).output().unwrap();
        let console = String::from_utf8_lossy(&stdout).into_owned();
        assert!(
            status.success(),
            "{status}\n{console}{}",
            String::from_utf8_lossy(&stderr)
        );
        console
    }

    /// Boots it in earnest, and checks what it leaves.
    fn run(&self, arguments: &[&str]) -> String {
        let console = self.boot(&[&["--write"], arguments].concat());
        self.assert_clean();
        console
    }

    fn assert_clean(&self) {
        let output = Command::new("/usr/sbin/e2fsck")
            .arg("-fn")
            .arg(self.image())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let report = ext4::check(File::open(self.image()).unwrap()).unwrap();
        assert!(report.is_clean(), "{report:#?}");
    }
}

fn cache() -> PathBuf {
    std::env::var_os("BOOT_CACHE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/boot"),
        PathBuf::from,
    )
}

fn rig() -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/boot-rootfs.sh"));
    command.env("BOOT_CACHE", cache());
    command
}

/// How the only line that begins so goes on.
fn line<'a>(console: &'a str, start: &str) -> &'a str {
    let lines: Vec<_> = console.lines().filter_map(|line| line.strip_prefix(start)).collect();
    let [line] = lines[..] else {
        panic!("{} lines begin with {start:?}:\n{console}", lines.len())
    };
    line
}

fn end(console: &str) -> &str {
    line(console, "microagent-init: exit ")
}

/// Strings as /proc shows them, each with a NUL, in hexadecimal.
fn hex(strings: &[&[u8]]) -> String {
    let mut text = String::new();
    for byte in strings.iter().flat_map(|string| string.iter().chain(&[0])) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

#[test]
fn a_command_gets_what_a_container_would_get() {
    let Some(mut machine) = Machine::with_shell() else {
        return;
    };
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
    machine.build(
        &json!({
            "User": "ana",
            "WorkingDir": "/srv/new directory",
            "Env": ["PATH=/nowhere:/usr/bin:/bin", "NASTY=a  b\n$HOME\"'\\ü", "EMPTY="],
            "Entrypoint": ["show", "two words", ""],
            "Cmd": ["\"quoted'", "$HOME `id`", "line\nbreak\t*", "ünïcode"]
        }),
        &[],
    );
    for kernel in KERNELS {
        let console = machine.run(&["--kernel", kernel]);
        assert_eq!(end(&console), "status=3");
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
        assert_eq!(line(&console, "arguments "), hex(&arguments));
        let environment: [&[u8]; 4] = [
            b"PATH=/nowhere:/usr/bin:/bin",
            "NASTY=a  b\n$HOME\"'\\ü".as_bytes(),
            b"EMPTY=",
            b"HOME=/home/ana",
        ];
        assert_eq!(line(&console, "environment "), hex(&environment));
        assert_eq!(line(&console, "directory "), "/srv/new directory");
        assert_eq!(line(&console, "user "), "1000 1001 1001 29");
        assert_eq!(line(&console, "Groups: ").trim(), "29 1001");
        assert_eq!(line(&console, "name "), "testbed");
        for said in [
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
            assert!(console.lines().any(|line| line == said), "{said}:\n{console}");
        }
        assert!(!console.contains("No such file"), "{console}");
        assert!(!console.contains("microagent-init: could not"), "{console}");
    }
}

#[test]
fn exec_takes_any_bytes() {
    let Some(machine) = Machine::with_shell() else {
        return;
    };
    let command =
        b"printf '<%s>\\n' \"two  words\" '$HOME' \"\xff\xfe\" 'a\nb' | od -An -v -tx1 | tr -d ' \\n'; echo; exit 255";
    machine.build(
        &json!({"Entrypoint": ["/nothing"]}),
        &["--exec".as_ref(), OsStr::from_bytes(command)],
    );
    let console = machine.run(&[]);
    let expected: String = hex(&[b"<two  words>\n<$HOME>\n<\xff\xfe>\n<a\nb>\n"]);
    assert!(console.contains(expected.strip_suffix("00").unwrap()), "{console}");
    assert_eq!(end(&console), "status=255");
}

#[test]
fn an_image_without_a_shell_boots() {
    let Some(machine) = Machine::with(&["app/id"]) else {
        return;
    };
    machine.build(
        &json!({"Entrypoint": ["/app/id"], "User": "65532:65532", "WorkingDir": "/app"}),
        &[],
    );
    let console = machine.run(&[]);
    assert!(console.contains("uid=65532 gid=65532"), "{console}");
    assert_eq!(end(&console), "status=0");
}

#[test]
fn an_init_of_the_image_is_left_alone() {
    let Some(mut machine) = Machine::with_shell() else {
        return;
    };
    machine.program(
        "sbin/init",
        b"#!/bin/sh\necho \"my own init is $$\"\nsync\npoweroff -f\n",
    );
    machine.build(&json!({"Cmd": ["/bin/true"]}), &[]);
    machine.boot(&["--init", "/sbin/init", "--marker", "my own init is 1"]);
}

#[test]
fn a_root_that_is_read_only_is_enough() {
    let Some(mut machine) = Machine::with_shell() else {
        return;
    };
    machine.file("run/hidden", b"");
    let command = "touch /here || echo 'root is read-only'; touch /run/here /tmp/here && ls /run; exit 4";
    machine.build(&json!({}), &["--exec".as_ref(), command.as_ref()]);
    let before = fs::read(machine.image()).unwrap();
    let console = machine.run(&["--ro"]);
    assert!(console.contains("root is read-only"), "{console}");
    assert!(console.lines().any(|line| line == "here"), "{console}");
    assert!(!console.contains("microagent-init: could not"), "{console}");
    assert_eq!(end(&console), "status=4");
    assert!(before == fs::read(machine.image()).unwrap(), "nothing was written");
}

#[test]
fn being_asked_to_stop_sends_the_stop_signal() {
    let Some(machine) = Machine::with_shell() else {
        return;
    };
    // SIGINT is what Ctrl-Alt-Del sends to PID 1.
    let command = "trap 'echo stopping; exit 5' USR1; (sleep 1; kill -INT 1) & while :; do sleep 0.2; done";
    machine.build(
        &json!({"StopSignal": "SIGUSR1"}),
        &["--exec".as_ref(), command.as_ref()],
    );
    let console = machine.run(&[]);
    assert!(console.contains("stopping"), "{console}");
    assert_eq!(end(&console), "status=5");
}

#[test]
fn signals_pass_and_orphans_are_collected() {
    let Some(machine) = Machine::with_shell() else {
        return;
    };
    let command = "trap 'echo hung up' HUP; (sleep 0.1 & sleep 0.2 &) ; kill -HUP 1; sleep 1
        grep -l '^State:.*zombie' /proc/[0-9]*/status && echo 'zombies'
        (sleep 1000 &); kill -KILL $$";
    machine.build(&json!({}), &["--exec".as_ref(), command.as_ref()]);
    let console = machine.run(&[]);
    assert!(console.contains("hung up") && !console.contains("zombies"), "{console}");
    assert_eq!(end(&console), "signal=9");
}

#[test]
fn a_command_that_will_not_stop_is_killed() {
    let Some(machine) = Machine::with_shell() else {
        return;
    };
    let command = "trap '' TERM; kill -TERM 1; while :; do sleep 1; done";
    machine.build(&json!({}), &["--exec".as_ref(), command.as_ref()]);
    assert_eq!(end(&machine.run(&[])), "signal=9");
}

#[test]
fn a_command_that_cannot_run_says_why() {
    for (command, said, status) in [
        (
            "nothing",
            "could not run nothing: no such file or directory",
            "status=127",
        ),
        ("/etc/text", "could not run /etc/text: permission denied", "status=126"),
    ] {
        let Some(mut machine) = Machine::with(&["bin/busybox"]) else {
            return;
        };
        machine.file("etc/text", b"text\n");
        machine.build(&json!({"Entrypoint": [command]}), &[]);
        let console = machine.run(&[]);
        assert_eq!(
            line(&console, "microagent-init: could"),
            said.strip_prefix("could").unwrap()
        );
        assert_eq!(end(&console), status);
    }
}

#[test]
fn the_journal_survives_a_power_cut() {
    let Some(machine) = Machine::with_shell() else {
        return;
    };
    let command = "test -e /kept && { echo \"kept $(cat /kept)\"; exit 6; }; echo content >/kept; sync
        n=0; while :; do n=$((n + 1)); dd if=/dev/zero of=/file$((n % 50)) bs=4k count=20 2>/dev/null;
        [ $n = 60 ] && echo 'in the middle of it'; done";
    machine.build(&json!({}), &["--exec".as_ref(), command.as_ref()]);
    machine.boot(&["--write", "--cut", "--marker", "in the middle of it"]);
    let superblock = &fs::read(machine.image()).unwrap()[1024..2048];
    // s_feature_incompat, EXT4_FEATURE_INCOMPAT_RECOVER
    assert_eq!(superblock[0x60] & 4, 4, "the journal has something to replay");
    let console = machine.run(&[]);
    assert!(console.contains("kept content"), "{console}");
    assert_eq!(end(&console), "status=6");
}
