//! All that [`ext4::Reader`] says of the files in an image.

use std::fs::File;
use std::path::Path;

use ext4::{FoundInode, FoundKind, ReadError, Reader};

/// A line for each file, by path: what it is, and a checksum of its content.
pub fn listing(image: &Path) -> Vec<String> {
    let lines = walk(image, |inode| {
        let owner = format!("{} {}", inode.uid, inode.gid);
        let times = format!("{:?} {:?}", inode.modified, inode.changed);
        format!(
            "{:?} {:o} {owner} {} {} {times}",
            inode.kind, inode.mode, inode.size, inode.links
        )
    });
    lines.unwrap()
}

/// The same without what programs change of a tree that stays the same: sizes and times of
/// directories, and times of the last change of inodes. `None` if the image cannot be read.
pub fn tree_of(image: &Path) -> Option<Vec<String>> {
    let lines = walk(image, |inode| {
        let more = match inode.kind {
            FoundKind::Directory => String::new(),
            _ => format!("{} {} {:?}", inode.size, inode.links, inode.modified),
        };
        format!("{:?} {:o} {} {} {more}", inode.kind, inode.mode, inode.uid, inode.gid)
    });
    lines.ok()
}

/// A line for each file, with what is said of its inode, its attributes, and a checksum of its
/// content.
fn walk(image: &Path, describe: impl Fn(&FoundInode) -> String) -> Result<Vec<String>, ReadError> {
    let reader = Reader::open(File::open(image).unwrap())?;
    let mut lines = Vec::new();
    let mut pending = vec![(Vec::new(), reader.root()?)];
    while let Some((path, inode)) = pending.pop() {
        let content = content(&reader, &inode)?;
        let xattrs = reader.xattrs(&inode)?;
        let described = describe(&inode);
        lines.push(format!("{} {described} {xattrs:?} {content}", path.escape_ascii()));
        if inode.kind == FoundKind::Directory {
            for entry in reader.entries(&inode)? {
                let child = reader.inode(entry.ino)?;
                pending.push(([&path[..], b"/", &entry.name].concat(), child));
            }
        }
    }
    lines.sort_unstable();
    Ok(lines)
}

fn content(reader: &Reader<File>, inode: &FoundInode) -> Result<String, ReadError> {
    Ok(match inode.kind {
        FoundKind::Symlink => reader.target(inode)?.escape_ascii().to_string(),
        FoundKind::File => {
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
