//! Creates an image of a directory: `cargo run --example from_directory <directory> <image>`.
//!
//! Files keep their permissions and modification times, and are owned by root. Only files,
//! directories and symlinks are supported.

#![expect(clippy::print_stdout, reason = "an example that prints its result")]

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use ext4::{Directory, Formatter, InodeId, Kind, Metadata, Options, Timestamp, Tree};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [directory, image] = &arguments[..] else {
        return Err("usage: from_directory <directory> <image>".into());
    };
    let output = File::options().read(true).write(true).create_new(true).open(image)?;
    let mut tree = Tree::new(metadata(&fs::metadata(directory)?)?);
    let mut formatter = Formatter::new(output, Options::new(*b"from a directory"))?;
    copy(directory, InodeId::ROOT, &mut tree, &mut formatter)?;
    let (output, summary) = formatter.finish(tree)?;
    println!("{summary:?}");
    Ok(output.sync_all()?)
}

fn copy(from: &Path, to: InodeId, tree: &mut Tree, formatter: &mut Formatter<File>) -> Result<(), Box<dyn Error>> {
    let mut entries = fs::read_dir(from)?.collect::<Result<Vec<_>, _>>()?;
    // The order of the calls determines the order of the content in the image.
    entries.sort_by_key(fs::DirEntry::file_name);
    for (name, path) in entries.iter().map(|entry| (entry.file_name(), entry.path())) {
        let found = fs::symlink_metadata(&path)?;
        let kind = match found.file_type() {
            kind if kind.is_dir() => Kind::Directory(Directory::new()),
            kind if kind.is_file() => Kind::File(formatter.write_data(File::open(&path)?, found.len())?),
            kind if kind.is_symlink() => Kind::Symlink(fs::read_link(&path)?.as_os_str().as_encoded_bytes().into()),
            _ => return Err(format!("{}: neither file, directory nor symlink", path.display()).into()),
        };
        let inode = tree.insert(to, name.as_encoded_bytes(), metadata(&found)?, kind)?;
        if found.is_dir() {
            copy(&path, inode, tree, formatter)?;
        }
    }
    Ok(())
}

fn metadata(found: &fs::Metadata) -> Result<Metadata, Box<dyn Error>> {
    #[cfg(unix)]
    let mode = (std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o7777).try_into()?;
    #[cfg(not(unix))]
    let mode = if found.is_dir() { 0o755 } else { 0o644 };
    let time = found.modified()?.duration_since(UNIX_EPOCH)?;
    let modified = Timestamp::saturating(time.as_secs().try_into()?, time.subsec_nanos());
    Ok(Metadata {
        mode,
        modified,
        ..Metadata::default()
    })
}
