//! Checks a disk image, lists a directory of it, or prints a file:
//! `cargo run --example inspect -- hello.ext4 /etc`.

#![expect(clippy::print_stdout, reason = "a command-line example")]

use std::error::Error;
use std::io;

use microagent::Cancel;
use microagent::ext4::FileType;
use microagent::inspect::DiskImage;
use microagent::verify::verify;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let image = arguments.next().ok_or("usage: inspect <image> [<path>]")?;
    let path = arguments.next().unwrap_or_else(|| "/".to_owned());

    for finding in verify(&image, None, &Cancel::new())?.report.findings {
        println!("{finding}");
    }
    let disk = DiskImage::open(&image)?;
    if let Some(provenance) = disk.provenance()? {
        println!("built from {}", provenance.digest);
    }
    let listed = disk.list(path.as_bytes())?;
    if let [file] = &listed[..]
        && file.inode.file_type == FileType::RegularFile
        && path.ends_with(&*String::from_utf8_lossy(&file.name))
    {
        io::copy(&mut disk.content(path.as_bytes())?, &mut io::stdout())?;
        return Ok(());
    }
    for file in listed {
        let (inode, name) = (file.inode, String::from_utf8_lossy(&file.name).into_owned());
        println!("{:o} {}:{} {:>10} {name}", inode.mode, inode.uid, inode.gid, inode.size);
    }
    Ok(())
}
