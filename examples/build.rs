//! Builds a disk image, shows the progress, and cancels when Enter is pressed:
//! `cargo run --release --example build -- oci:examples/hello hello.ext4`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line example")]

use std::error::Error;
use std::{io, thread};

use microagent::rootfs::{BuildOptions, Event, build};
use microagent::{Cancel, Events, Failure as _};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(image), Some(output)) = (arguments.next(), arguments.next()) else {
        return Err("usage: build <reference> <image>".into());
    };
    let mut options = BuildOptions::new(image.parse()?);
    options.allow_mutable = true;
    options.digest = true;
    let mut shown = 0;
    options.events = Events::new(move |event| match event {
        Event::Phase(phase) => eprintln!("{phase}"),
        Event::Warning(warning) => eprintln!("warning: {warning}"),
        Event::Progress(progress) if progress.size() > 0 => {
            // Events arrive for every few KiB.
            let percent = 100 * progress.applied() / progress.size();
            if percent >= shown + 10 {
                shown = percent;
                eprintln!("{percent} % of layers applied");
            }
        }
        _ => {}
    });

    let cancel = Cancel::new();
    thread::spawn({
        let cancel = cancel.clone();
        move || {
            // Zero bytes are the end of the input, not Enter.
            if io::stdin().read_line(&mut String::new()).is_ok_and(|len| len > 0) {
                cancel.cancel();
            }
        }
    });
    let report = build(&options, output, &cancel)
        .inspect_err(|error| eprintln!("{:?}: {:?}", error.kind(), error.hint().map(|hint| hint.to_string())))?;
    println!("{report:#?}");
    Ok(())
}
