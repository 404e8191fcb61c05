//! Compares the image that mke2fs made with the native one.

use ext4::FileType;
use ext4::read::Inode;

use super::error::Mke2fsError;
use super::match_inodes::{ImageReader, match_inodes};
use layer::cancel::Cancel;

/// Length in bytes of the ranges of content that are compared.
const CHUNK_LEN: usize = 1 << 20;

/// Compares two images, entry by entry.
///
/// # Errors
///
/// [`Mke2fsError::Different`] with the first difference.
pub(super) fn compare(native: &ImageReader<'_>, made: &ImageReader<'_>, cancel: &Cancel) -> Result<(), Mke2fsError> {
    let matches = match_inodes(native, made)?;
    if let Some(missing) = matches.missing.first() {
        return Err(Mke2fsError::different(&missing.path, "it is missing"));
    }
    for (&ino, matched) in &matches.inodes {
        let expected = native.inode(ino)?;
        let found = made.inode(matched.ino)?;
        let is_directory = expected.file_type == FileType::Directory;
        let sized = |inode: &Inode| match inode.file_type {
            FileType::RegularFile | FileType::Symlink => inode.size,
            _ => 0,
        };
        let what = if (expected.file_type, expected.device) != (found.file_type, found.device) {
            "its file type or device number"
        } else if expected.mode != found.mode {
            "its mode"
        } else if (expected.uid, expected.gid) != (found.uid, found.gid) {
            "its owner"
        } else if expected.links != found.links && !is_directory {
            "its link count"
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
        return Err(Mke2fsError::different(&matched.path, what));
    }
    Ok(())
}

fn times(inode: &Inode) -> [ext4::Timestamp; 3] {
    [inode.accessed, inode.modified, inode.changed]
}

/// Returns whether two files have the same content. Ranges that are holes in both are skipped.
fn same_content(
    (native, expected): (&ImageReader<'_>, &Inode),
    (made, found): (&ImageReader<'_>, &Inode),
    cancel: &Cancel,
) -> Result<bool, Mke2fsError> {
    let (expected, found) = (native.open_inode(expected)?, made.open_inode(found)?);
    let mut buffers = [(); 2].map(|()| vec![0; CHUNK_LEN]);
    let mut offset = 0;
    loop {
        cancel.check()?;
        let next = [expected.next_data(offset), found.next_data(offset)];
        let Some(start) = next.into_iter().flatten().map(|data| data.start).min() else {
            return Ok(true);
        };
        let [left, right] = &mut buffers;
        let lens = (expected.read_at(left, start)?, found.read_at(right, start)?);
        if left[..lens.0] != right[..lens.1] {
            return Ok(false);
        }
        offset = start + CHUNK_LEN as u64;
    }
}
