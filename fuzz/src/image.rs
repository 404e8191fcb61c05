//! Target `image`: reading of images.

use std::collections::BTreeSet;

use ext4::read::{FileType, Follow, Inode};
use ext4::{ReadError, Reader};

/// Limit on the content that is read, in bytes: a damaged image may claim any size.
const MAX_CONTENT_LEN: u64 = 1 << 20;

/// Reads everything that the root leads to, with and without checksums. Checksums keep most damaged
/// structures from being read.
pub fn run(bytes: &[u8]) {
    read_all(bytes);
    read_all(&without_checksums(bytes));
}

/// Returns the image without the feature `metadata_csum`.
pub(crate) fn without_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(features) = bytes.get_mut(1024 + 0x65) {
        *features &= !4;
    }
    bytes
}

fn read_all(bytes: &[u8]) {
    if let Ok(reader) = Reader::open(bytes) {
        let _ = reader.boot_area();
        let _ = (reader.info(), reader.groups());
        // A damaged structure does not hide others.
        read_tree(&reader, |_| {});
    }
}

/// Reads everything that the root leads to, each inode once, and passes each error to `failed`.
pub(crate) fn read_tree(reader: &Reader<&[u8]>, mut failed: impl FnMut(ReadError)) {
    let mut seen = BTreeSet::new();
    let mut left = MAX_CONTENT_LEN;
    for found in reader.walk() {
        match found {
            Ok((path, inode)) if seen.insert(inode.ino) => {
                let _ = reader.lookup(&path, Follow::Yes);
                let blocks = reader.blocks(&inode).map(drop);
                let xattrs = reader.xattrs(&inode).map(drop);
                let content = read(reader, &inode, &mut left);
                let results = [blocks, xattrs, content];
                results.into_iter().filter_map(Result::err).for_each(&mut failed);
            }
            Ok(_) => {}
            Err(error) => failed(error),
        }
    }
}

fn read(reader: &Reader<&[u8]>, inode: &Inode, left: &mut u64) -> Result<(), ReadError> {
    match inode.file_type {
        FileType::RegularFile => {
            let file = reader.open_inode(inode)?;
            let mut end = 0;
            for range in file.data() {
                assert!(range.start >= end && range.len > 0, "ranges are in order");
                end = range.start + range.len;
                assert!(end <= inode.size, "ranges are within the file");
            }
            let mut buffer = vec![0; 4096];
            let mut at = 0;
            while let Some(data) = file.next_data(at).filter(|_| *left > 0) {
                let len = file.read_at(&mut buffer, data.start)? as u64;
                at = data.start + len;
                *left = left.saturating_sub(len);
            }
        }
        FileType::Symlink => {
            reader.read_link(inode)?;
        }
        _ => {}
    }
    Ok(())
}
