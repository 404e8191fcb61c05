//! Comparison of the metadata of two inodes.

use std::collections::BTreeSet;

use ext4::read::Inode;
use ext4::{FileType, Timestamp, Xattrs};

use layer::text::printable;
use oci::{Algorithm, Digest};

/// Maximum number of bytes of an extended attribute that are shown.
const MAX_SHOWN: usize = 64;

/// Inode flags that describe storage only, and are not compared: `EXT4_INDEX_FL`,
/// `EXT4_HUGE_FILE_FL`, `EXT4_EXTENTS_FL`, `EXT4_EA_INODE_FL` and `EXT4_INLINE_DATA_FL`.
const STORAGE_FLAGS: u32 = 0x1000 | 0x4_0000 | 0x8_0000 | 0x20_0000 | 0x1000_0000;

/// The name of a field, and its value in each image.
pub(super) type FieldDifference = (String, Option<String>, Option<String>);

/// Returns the fields that stat(2) shows and in which two inodes of the same type differ.
pub(super) fn visible_fields(a: &Inode, b: &Inode) -> Vec<FieldDifference> {
    let number = |number: u32| number.to_string();
    let links = |inode: &Inode| match inode.file_type {
        // The link count of a directory follows from its subdirectories.
        FileType::Directory => String::new(),
        _ => inode.links.to_string(),
    };
    let size = |inode: &Inode| match inode.file_type {
        FileType::RegularFile => inode.size.to_string(),
        _ => String::new(),
    };
    let device = |inode: &Inode| match inode.device {
        Some(device) => format!("{}:{}", device.major, device.minor),
        None => String::new(),
    };
    let fields = [
        ("mode", format!("{:04o}", a.mode), format!("{:04o}", b.mode)),
        ("uid", number(a.uid), number(b.uid)),
        ("gid", number(a.gid), number(b.gid)),
        ("size", size(a), size(b)),
        ("links", links(a), links(b)),
        ("device", device(a), device(b)),
        ("mtime", time(a.modified), time(b.modified)),
        ("ctime", time(a.changed), time(b.changed)),
        ("atime", time(a.accessed), time(b.accessed)),
    ];
    let fields = fields.into_iter().filter(|(_, a, b)| a != b);
    fields.map(|(name, a, b)| (name.to_owned(), Some(a), Some(b))).collect()
}

/// Returns the fields that stat(2) does not show and in which two inodes differ.
pub(super) fn hidden_fields(a: &Inode, b: &Inode) -> Vec<FieldDifference> {
    let fields = |inode: &Inode| {
        [
            ("crtime", time(inode.created)),
            ("dtime", inode.deleted.to_string()),
            ("flags", format!("{:#x}", inode.flags & !STORAGE_FLAGS)),
            ("generation", inode.generation.to_string()),
            ("version", inode.version.to_string()),
            ("projid", inode.project.to_string()),
        ]
    };
    let fields = fields(a).into_iter().zip(fields(b)).filter(|(a, b)| a != b);
    fields
        .map(|((name, a), (_, b))| (name.to_owned(), Some(a), Some(b)))
        .collect()
}

fn time(time: Timestamp) -> String {
    format!("{}.{:09}", time.seconds(), time.nanoseconds())
}

/// Returns the extended attributes in which two inodes differ.
pub(super) fn xattr_fields(a: &Xattrs, b: &Xattrs) -> Vec<FieldDifference> {
    let names: BTreeSet<&[u8]> = a.iter().chain(b.iter()).map(|(name, _)| name).collect();
    names
        .into_iter()
        .filter(|name| a.get(name) != b.get(name))
        .map(|name| {
            let shown = |value: Option<&[u8]>| value.map(value_text);
            (
                format!("xattr {}", printable(name)),
                shown(a.get(name)),
                shown(b.get(name)),
            )
        })
        .collect()
}

/// Formats a value as a quoted, escaped string. A long value is cut, with its length and digest
/// appended.
fn value_text(value: &[u8]) -> String {
    let shown = &value[..value.len().min(MAX_SHOWN)];
    let rest = if shown.len() < value.len() {
        let digest = Digest::of(Algorithm::Sha256, value);
        format!("… {} bytes, {digest}", value.len())
    } else {
        String::new()
    };
    format!("\"{}\"{rest}", shown.escape_ascii())
}
