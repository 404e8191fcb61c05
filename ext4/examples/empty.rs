//! Creates an empty file system in a new file: `cargo run --example empty <MiB> <image>`.

#![expect(clippy::print_stdout, reason = "an example that prints its result")]

use std::error::Error;
use std::fs::File;

use ext4::{Formatter, Label, Options, Size, Tree};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mib, image] = &arguments[..] else {
        return Err("usage: empty <MiB> <image>".into());
    };
    let mib: u64 = mib.parse()?;
    let options = Options {
        size: Size::Fixed(mib.checked_mul(1 << 20).ok_or("the size is too large")?),
        label: Label::new("empty")?,
        // A constant UUID makes images reproducible. Give each image its own UUID, random or
        // derived from its content.
        ..Options::new(*b"an empty example")
    };
    // For a block device, use `DeviceOutput`.
    let output = File::options().read(true).write(true).create_new(true).open(image)?;
    let (output, summary) = Formatter::new(output, options)?.finish(Tree::default())?;
    output.sync_all()?;
    println!("{summary:?}");
    Ok(())
}
