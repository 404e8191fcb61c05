//! Builds a disk image, shows how far it is, and cancels when Enter is pressed:
//! `cargo run --release --example build -- oci:examples/hello hello.ext4`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example that says what it does"
)]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use microagent::layer::cancel::Cancel;
use microagent::layer::failure::Failure as _;
use microagent::rootfs::{BuildOptions, build};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(image), Some(output)) = (arguments.next(), arguments.next()) else {
        return Err("usage: build <reference> <image>".into());
    };
    let mut options = BuildOptions::new(image.parse()?, output);
    options.allow_mutable = true;
    options.digest = true;

    let cancel = Cancel::new();
    thread::spawn({
        let cancel = cancel.clone();
        move || {
            // Zero bytes are the end of the input, and no Enter.
            if io::stdin().read_line(&mut String::new()).is_ok_and(|len| len > 0) {
                cancel.cancel();
            }
        }
    });
    let done = Cancel::new();
    let display = thread::spawn({
        let (done, progress) = (done.clone(), Arc::clone(&options.progress));
        move || {
            while done.wait_timeout(Duration::from_millis(200)).is_ok() {
                let (applied, size) = progress.layers().iter().fold((0, 0), |(applied, size), layer| {
                    (applied + layer.applied(), size + layer.size())
                });
                eprintln!("{applied} of {size} bytes of layers applied");
            }
        }
    });
    let result = build(&options, &cancel);
    done.cancel();
    display.join().expect("it only prints");

    let report =
        result.inspect_err(|error| eprintln!("{:?}: {:?}", error.kind(), error.hint().map(|hint| hint.to_string())))?;
    println!("{report:#?}");
    Ok(())
}
