//! Listings of all files in an image, by [`ext4::Reader`].

use std::fs::File;
use std::path::Path;

use ext4::read::Inode;
use ext4::{FileType, ReadError, Reader};

/// Returns a line for each file, sorted by path: metadata and a checksum of the content.
pub fn listing(image: &Path) -> Vec<String> {
    let lines = walk(image, |inode| {
        let owner = format!("{} {}", inode.uid, inode.gid);
        let times = format!("{:?} {:?}", inode.modified, inode.changed);
        format!(
            "{} {:?} {:o} {owner} {} {} {times}",
            inode.file_type, inode.device, inode.mode, inode.size, inode.links
        )
    });
    lines.unwrap()
}

/// Returns a listing without what e2fsprogs may change although the tree stays the same: sizes,
/// link counts and times of directories, and every `ctime`. Returns `None` if the image cannot be
/// read.
pub fn tree_of(image: &Path) -> Option<Vec<String>> {
    let lines = walk(image, |inode| {
        let more = match inode.file_type {
            FileType::Directory => String::new(),
            _ => format!("{} {} {:?}", inode.size, inode.links, inode.modified),
        };
        format!(
            "{} {:?} {:o} {} {} {more}",
            inode.file_type, inode.device, inode.mode, inode.uid, inode.gid
        )
    });
    lines.ok()
}

/// Returns a line for each file: its path, the description of its inode, its attributes, and a
/// checksum of its content.
fn walk(image: &Path, describe: impl Fn(&Inode) -> String) -> Result<Vec<String>, ReadError> {
    let reader = Reader::open(File::open(image).unwrap())?;
    let mut lines = Vec::new();
    for found in reader.walk() {
        let (path, inode) = found?;
        let content = content(&reader, &inode)?;
        let xattrs = reader.xattrs(&inode)?;
        let described = describe(&inode);
        lines.push(format!("{} {described} {xattrs:?} {content}", path.escape_ascii()));
    }
    lines.sort_unstable();
    Ok(lines)
}

fn content(reader: &Reader<File>, inode: &Inode) -> Result<String, ReadError> {
    Ok(match inode.file_type {
        FileType::Symlink => reader.read_link(inode)?.escape_ascii().to_string(),
        FileType::RegularFile => {
            let mut sum = 0;
            for range in reader.data(inode)? {
                let mut bytes = vec![0; usize::try_from(range.len).unwrap()];
                reader.read_data(&range, 0, &mut bytes)?;
                sum = crc32c::crc32c_append(sum, &range.start.to_le_bytes());
                sum = crc32c::crc32c_append(sum, &bytes);
            }
            format!("{sum:08x}")
        }
        _ => String::new(),
    })
}
