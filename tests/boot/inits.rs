//! Tests of images that have an init of their own.

use serde_json::json;

use crate::boot::machine::{AMD64, Disk, Machine, rest_of_line};
use support::program::rig_image;
use support::skip::skip;

#[test]
fn an_init_of_the_image_boots() {
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

/// Boots Debian's systemd, whose report service prints the result of the boot and ends the machine.
/// Cuts the power at the first report, and boots again.
fn systemd_boots_under(kernel: &str) {
    let layout = rig_image("systemd");
    if !layout.is_dir() {
        return skip("the image of systemd is missing: `just images` makes it");
    }
    let Some(disk) = Disk::new(AMD64) else {
        return;
    };
    let reference = format!("oci:{}:latest", layout.display());
    disk.build(&reference, &["--allow-mutable", "--init", "none"].map(str::as_ref));
    // The login prompt would share a line with the report.
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
    disk.cut_power("report: failed units:", &machine);
    let console = disk.run(&[&["--marker", "report: failed units:"], &machine[..]].concat());
    assert_eq!(rest_of_line(&console, "report: failed units:").trim(), "", "{console}");
    assert!(
        console.contains("report: what an earlier boot wrote is there"),
        "{console}"
    );
    assert!(
        rest_of_line(&console, "report: root is ").starts_with("rw,"),
        "{console}"
    );
}

#[test]
fn systemd_boots() {
    for kernel in AMD64.kernels() {
        systemd_boots_under(kernel);
    }
}
