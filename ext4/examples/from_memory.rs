//! Creates an image of files in memory, one of each kind:
//! `cargo run --example from_memory <image>`.

#![expect(clippy::print_stdout, reason = "an example that prints its result")]

use std::error::Error;

use ext4::{Device, Directory, Fit, Formatter, InodeId, Kind, Metadata, Options, Size, Timestamp, Tree};

fn main() -> Result<(), Box<dyn Error>> {
    let image = std::env::args_os().nth(1).ok_or("usage: from_memory <image>")?;
    let mut options = Options::new(*b"from memory only");
    // The smallest size with 4 MiB of free space.
    options.size = Size::Fit(Fit {
        free: 4 << 20,
        free_percent: 0,
        min: 0,
        ..Fit::default()
    });
    let mut formatter = Formatter::new(Vec::new(), options)?;
    let mut tree = Tree::new(metadata(0o755));
    let dev = tree.insert(
        InodeId::ROOT,
        b"dev",
        metadata(0o755),
        Kind::Directory(Directory::new()),
    )?;
    let null = Device { major: 1, minor: 3 };
    tree.insert(dev, b"null", metadata(0o666), Kind::CharDevice(null))?;

    let content = b"#!/bin/true\n";
    let data = formatter.write_data(&content[..], content.len() as u64)?;
    let mut program = metadata(0o755);
    program.xattrs.set(b"user.origin", b"memory")?;
    let program = tree.insert(InodeId::ROOT, b"program", program, Kind::File(data))?;
    tree.link(InodeId::ROOT, b"another name", program)?;
    tree.insert(
        InodeId::ROOT,
        b"link",
        metadata(0o777),
        Kind::Symlink(b"program"[..].into()),
    )?;

    // 1 GiB with 4 bytes at its end.
    let tail = (1 << 30) - 4..1 << 30;
    let data = formatter.write_sparse(&b"tail"[..], 1 << 30, &[tail])?;
    tree.insert(InodeId::ROOT, b"sparse", metadata(0o600), Kind::File(data))?;

    let (bytes, summary) = formatter.finish(tree)?;
    println!("{summary:?}");
    Ok(std::fs::write(image, bytes)?)
}

fn metadata(mode: u16) -> Metadata {
    Metadata {
        mode,
        modified: Timestamp::saturating(1_700_000_000, 0),
        ..Metadata::default()
    }
}
