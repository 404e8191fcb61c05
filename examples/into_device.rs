//! Writes the file system of an image to a block device, or to any file of a fixed size:
//! `cargo run --release --example into_device -- oci:examples/hello /dev/loop0`.

#![expect(clippy::print_stdout, reason = "a command-line example")]

use std::error::Error;
use std::fs::File;

use microagent::Cancel;
use microagent::ext4::{DeviceOutput, Size};
use microagent::rootfs::{BuildOptions, build_into};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(image), Some(device)) = (arguments.next(), arguments.next()) else {
        return Err("usage: into_device <reference> <device>".into());
    };
    let device = File::options().read(true).write(true).open(device)?;
    let mut output = DeviceOutput::new(device.try_clone()?)?;

    let mut options = BuildOptions::new(image.parse()?);
    options.allow_mutable = true;
    options.file_system.size = Size::Fixed(output.capacity());
    let report = build_into(&options, &mut output, &Cancel::new())?;
    device.sync_all()?;
    println!(
        "wrote {} to the device: {} bytes in use",
        report.resolved_ref, report.used_bytes
    );
    Ok(())
}
