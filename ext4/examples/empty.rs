//! Makes an empty file system of a size, in a new file: `cargo run --example empty <MiB> <image>`.

#![expect(clippy::print_stdout, reason = "an example that says what it did")]

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
        size: Size::Fixed(mib.checked_mul(1 << 20).ok_or("no file is so large")?),
        label: Label::new("empty")?,
        // The same bytes every time; give each image a UUID of its own, at random or from what is in it.
        ..Options::new(*b"an empty example")
    };
    // For a block device there is `DeviceOutput`.
    let output = File::options().read(true).write(true).create_new(true).open(image)?;
    let (output, summary) = Formatter::new(output, options)?.finish(Tree::default())?;
    output.sync_all()?;
    println!("{summary:?}");
    Ok(())
}
