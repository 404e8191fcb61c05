//! Inits that images have of their own.

use serde_json::json;

use crate::boot::machine::{AMD64, Disk, Machine, line};
use support::program::rig_image;
use support::skip::skip;

#[test]
fn an_init_of_the_image_is_left_alone() {
    let Some(mut machine) = Machine::with_shell(AMD64) else {
        return;
    };
    machine.program(
        "sbin/init",
        b"#!/bin/sh\necho \"my own init is $$\"\nsync\npoweroff -f\n",
    );
    let disk = machine.build(&json!({"Cmd": ["/bin/true"]}), &[]);
    disk.boot(&["--init", "/sbin/init", "--marker", "my own init is 1"]);
}

/// Debian's systemd, which says how the boot went and ends the machine, loses its power, and boots again.
fn systemd_boots_under(kernel: &str) {
    let layout = rig_image("systemd");
    if !layout.is_dir() {
        return skip("there is no image of systemd: `just images` makes it");
    }
    let Some(disk) = Disk::new(AMD64) else {
        return;
    };
    let reference = format!("oci:{}:latest", layout.display());
    disk.build(&reference, &["--allow-mutable", "--init", "none"].map(str::as_ref));
    // A login prompt has no line of its own.
    let no_login = "systemd.mask=serial-getty@ttyS0.service";
    let machine = [
        "--init",
        "/sbin/init",
        "--kernel",
        kernel,
        "--timeout",
        "300",
        "--append",
        no_login,
    ];
    disk.cut("report: failed units:", &machine);
    let console = disk.run(&[&["--marker", "report: failed units:"], &machine[..]].concat());
    assert_eq!(line(&console, "report: failed units:").trim(), "", "{console}");
    assert!(
        console.contains("report: what an earlier boot wrote is there"),
        "{console}"
    );
    assert!(line(&console, "report: root is ").starts_with("rw,"), "{console}");
}

#[test]
fn systemd_boots() {
    for kernel in AMD64.kernels() {
        systemd_boots_under(kernel);
    }
}
