//! Tests of the end of a machine: signals, exit statuses, and the disk that is left.

use serde_json::json;

use crate::boot::machine::{AMD64, Machine, command_end};
use support::tar::Entry;

#[test]
fn sigint_to_the_init_sends_the_stop_signal() {
    let Some(machine) = Machine::with_shell(AMD64) else {
        return;
    };
    // The kernel sends SIGINT to PID 1 on Ctrl-Alt-Del.
    let command = "trap 'echo stopping; exit 5' USR1; (sleep 1; kill -INT 1) & while :; do sleep 0.2; done";
    let disk = machine.build(
        &json!({"StopSignal": "SIGUSR1"}),
        &["--exec".as_ref(), command.as_ref()],
    );
    let console = disk.run(&[]);
    assert!(console.contains("stopping"), "{console}");
    assert_eq!(command_end(&console), "status=5");
}

#[test]
fn ctrl_alt_del_sends_the_stop_signal() {
    let Some(machine) = Machine::with_shell(AMD64) else {
        return;
    };
    let command = "trap 'echo stopping; exit 7' QUIT; echo 'press them'; while :; do sleep 0.2; done";
    let disk = machine.build(
        &json!({"StopSignal": "SIGQUIT"}),
        &["--exec".as_ref(), command.as_ref()],
    );
    for kernel in AMD64.kernels() {
        let console = disk.run(&["--ctrl-alt-del", "press them", "--kernel", kernel]);
        assert!(console.contains("stopping"), "{console}");
        assert_eq!(command_end(&console), "status=7");
    }
}

#[test]
fn signals_reach_the_command_and_orphans_are_reaped() {
    let Some(machine) = Machine::with_shell(AMD64) else {
        return;
    };
    let command = "trap 'echo hung up' HUP; (sleep 0.1 & sleep 0.2 &) ; kill -HUP 1; sleep 1
        grep -l '^State:.*zombie' /proc/[0-9]*/status && echo 'zombies'
        (sleep 1000 &); kill -KILL $$";
    let disk = machine.build(&json!({}), &["--exec".as_ref(), command.as_ref()]);
    let console = disk.run(&[]);
    assert!(console.contains("hung up") && !console.contains("zombies"), "{console}");
    assert_eq!(command_end(&console), "signal=9");
}

#[test]
fn a_command_that_ignores_sigterm_is_killed() {
    let Some(machine) = Machine::with_shell(AMD64) else {
        return;
    };
    let command = "trap '' TERM; kill -TERM 1; while :; do sleep 1; done";
    let disk = machine.build(&json!({}), &["--exec".as_ref(), command.as_ref()]);
    assert_eq!(command_end(&disk.run(&[])), "signal=9");
}

#[test]
fn a_command_that_cannot_be_killed_does_not_block_the_shutdown() {
    let Some(mut machine) = Machine::with_shell(AMD64) else {
        return;
    };
    machine.entries.push(Entry::hard_link("bin/fsfreeze", "bin/busybox"));
    // A process that writes to a frozen file system waits until it is thawed, and ignores all
    // signals.
    let command = "(sleep 2; kill -TERM 1) & fsfreeze --freeze / && echo frozen && echo >/file; echo thawed";
    let disk = machine.build(&json!({}), &["--exec".as_ref(), command.as_ref()]);
    let console = disk.boot(&["--write"]);
    assert!(console.lines().any(|line| line == "frozen"), "{console}");
    assert!(!console.contains("thawed"), "{console}");
    for message in ["the command does not end", "some processes would not end"] {
        assert_eq!(console.matches(message).count(), 1, "{message}:\n{console}");
    }
    assert_eq!(command_end(&console), "signal=9");
}

#[test]
fn the_journal_is_replayed_after_a_power_cut() {
    let Some(machine) = Machine::with_shell(AMD64) else {
        return;
    };
    let command = "test -e /kept && { echo \"kept $(cat /kept)\"; exit 6; }; echo content >/kept; sync
        n=0; while :; do n=$((n + 1)); dd if=/dev/zero of=/file$((n % 50)) bs=4k count=20 2>/dev/null;
        [ $n = 60 ] && echo 'in the middle of it'; done";
    let disk = machine.build(&json!({}), &["--exec".as_ref(), command.as_ref()]);
    disk.cut_power("in the middle of it", &[]);
    let console = disk.run(&[]);
    assert!(console.contains("kept content"), "{console}");
    assert_eq!(command_end(&console), "status=6");
}
