//! All that [`ext4::Reader`] says of the files in an image.

use std::fs::File;
use std::path::Path;

use ext4::{FoundInode, FoundKind, Reader};

/// A line for each file, by path: what it is, and a checksum of its content.
pub fn listing(image: &Path) -> Vec<String> {
    let mut reader = Reader::open(File::open(image).unwrap()).unwrap();
    let mut lines = Vec::new();
    let mut pending = vec![(Vec::new(), reader.root().unwrap())];
    while let Some((path, inode)) = pending.pop() {
        let content = content(&mut reader, &inode);
        let FoundInode {
            kind,
            mode,
            uid,
            gid,
            size,
            links,
            modified,
            changed,
            ..
        } = inode;
        let xattrs = reader.xattrs(&inode).unwrap();
        lines.push(format!(
            "{} {kind:?} {mode:o} {uid} {gid} {size} {links} {modified:?} {changed:?} {xattrs:?} {content}",
            path.escape_ascii()
        ));
        if kind == FoundKind::Directory {
            for entry in reader.entries(&inode).unwrap() {
                let child = reader.inode(entry.ino).unwrap();
                pending.push(([&path[..], b"/", &entry.name].concat(), child));
            }
        }
    }
    lines.sort_unstable();
    lines
}

fn content(reader: &mut Reader<File>, inode: &FoundInode) -> String {
    match inode.kind {
        FoundKind::Symlink => reader.target(inode).unwrap().escape_ascii().to_string(),
        FoundKind::File => {
            let mut sum = 0;
            for range in reader.data(inode).unwrap() {
                let mut bytes = vec![0; usize::try_from(range.len).unwrap()];
                reader.read_data(&range, 0, &mut bytes).unwrap();
                sum = crc32c::crc32c_append(sum, &range.start.to_le_bytes());
                sum = crc32c::crc32c_append(sum, &bytes);
            }
            format!("{sum:08x}")
        }
        _ => String::new(),
    }
}
