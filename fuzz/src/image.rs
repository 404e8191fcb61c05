//! Images: what a reader makes of any bytes.

use std::collections::BTreeSet;
use std::io::Cursor;

use ext4::{FoundInode, FoundKind, ReadError, Reader};

/// Most bytes of contents that are read, which do not end where an image lies.
const MAX_CONTENT_LEN: u64 = 1 << 20;

/// Reads all that can be reached from the root, once; and once more as if there were no checksums, which keep most of what is
/// damaged from being looked at.
pub fn run(bytes: &[u8]) {
    read_all(bytes);
    read_all(&without_checksums(bytes));
}

/// The same image without the feature `metadata_csum`.
pub(crate) fn without_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(features) = bytes.get_mut(1024 + 0x65) {
        *features &= !4;
    }
    bytes
}

fn read_all(bytes: &[u8]) {
    if let Ok(reader) = Reader::open(Cursor::new(bytes)) {
        let _ = reader.boot_area();
        let _ = reader.facts();
        if let Ok(root) = reader.root() {
            // What is damaged hides nothing else.
            read_below(&reader, root, |_| {});
        }
    }
}

/// Reads all that can be reached from a directory, once, and says what could not be read.
pub(crate) fn read_below(reader: &Reader<Cursor<&[u8]>>, root: FoundInode, mut failed: impl FnMut(ReadError)) {
    let mut seen = BTreeSet::new();
    let mut pending = vec![root];
    let mut left = MAX_CONTENT_LEN;
    while let Some(inode) = pending.pop() {
        if seen.insert(inode.ino) {
            let xattrs = reader.xattrs(&inode).map(drop);
            let content = read(reader, &inode, &mut pending, &mut left);
            xattrs.err().into_iter().chain(content.err()).for_each(&mut failed);
        }
    }
}

fn read(
    reader: &Reader<Cursor<&[u8]>>,
    inode: &FoundInode,
    pending: &mut Vec<FoundInode>,
    left: &mut u64,
) -> Result<(), ReadError> {
    match inode.kind {
        FoundKind::Directory => {
            for entry in reader.entries(inode)? {
                if let Ok(child) = reader.inode(entry.ino) {
                    pending.push(child);
                }
            }
        }
        FoundKind::File => {
            let mut end = 0;
            let mut buffer = vec![0; 4096];
            for range in reader.data(inode)? {
                assert!(range.start >= end && range.len > 0, "ranges are in order");
                end = range.start + range.len;
                assert!(end <= inode.size, "ranges are within the file");
                let mut done = 0;
                while done < range.len && *left > 0 {
                    let len = usize::try_from((range.len - done).min(4096)).expect("at most a block");
                    reader.read_data(&range, done, &mut buffer[..len])?;
                    done += len as u64;
                    *left = left.saturating_sub(len as u64);
                }
            }
        }
        FoundKind::Symlink => {
            reader.target(inode)?;
        }
        _ => {}
    }
    Ok(())
}
