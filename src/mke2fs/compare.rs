//! Whether two images hold the same.

use ext4::FileType;
use ext4::read::Inode;

use super::error::Mke2fsError;
use super::pair::{Image, pair};
use layer::cancel::Cancel;

/// Bytes that are compared at once.
const CHUNK: usize = 1 << 20;

/// Finds the first difference between two images.
pub(super) fn compare(native: &Image<'_>, made: &Image<'_>, cancel: &Cancel) -> Result<(), Mke2fsError> {
    let pairing = pair(native, made)?;
    if let Some(missing) = pairing.missing.first() {
        return Err(Mke2fsError::different(&missing.path, "it is missing"));
    }
    for (&ino, paired) in &pairing.inodes {
        let expected = native.inode(ino)?;
        let found = made.inode(paired.ino)?;
        let is_directory = expected.file_type == FileType::Directory;
        let sized = |inode: &Inode| match inode.file_type {
            FileType::RegularFile | FileType::Symlink => inode.size,
            _ => 0,
        };
        let what = if (expected.file_type, expected.device) != (found.file_type, found.device) {
            "it is another device"
        } else if expected.mode != found.mode {
            "its mode"
        } else if (expected.uid, expected.gid) != (found.uid, found.gid) {
            "its owner"
        } else if expected.links != found.links && !is_directory {
            "its number of links"
        } else if times(&expected) != times(&found) {
            "its times"
        } else if sized(&expected) != sized(&found) {
            "its size"
        } else if native.xattrs(&expected)? != made.xattrs(&found)? {
            "its extended attributes"
        } else if expected.file_type == FileType::Symlink && native.read_link(&expected)? != made.read_link(&found)? {
            "its target"
        } else if expected.file_type == FileType::RegularFile
            && !same_content((native, &expected), (made, &found), cancel)?
        {
            "its content"
        } else {
            continue;
        };
        return Err(Mke2fsError::different(&paired.path, what));
    }
    Ok(())
}

fn times(inode: &Inode) -> [ext4::Timestamp; 3] {
    [inode.accessed, inode.modified, inode.changed]
}

fn same_content(
    (native, expected): (&Image<'_>, &Inode),
    (made, found): (&Image<'_>, &Inode),
    cancel: &Cancel,
) -> Result<bool, Mke2fsError> {
    let (expected, found) = (native.open_inode(expected)?, made.open_inode(found)?);
    let mut buffers = [(); 2].map(|()| vec![0; CHUNK]);
    let mut offset = 0;
    loop {
        cancel.check()?;
        // What is a hole on both sides is not looked at.
        let next = [expected.next_data(offset), found.next_data(offset)];
        let Some(start) = next.into_iter().flatten().map(|data| data.start).min() else {
            return Ok(true);
        };
        let [left, right] = &mut buffers;
        let lens = (expected.read_at(left, start)?, found.read_at(right, start)?);
        if left[..lens.0] != right[..lens.1] {
            return Ok(false);
        }
        offset = start + CHUNK as u64;
    }
}
