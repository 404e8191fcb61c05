//! What two inodes say of themselves.

use std::collections::BTreeSet;

use ext4::read::Inode;
use ext4::{FileType, Timestamp, Xattrs};

use layer::text::printable;
use oci::{Algorithm, Digest};

/// Most bytes of an extended attribute that are shown.
const MAX_SHOWN: usize = 64;

/// Flags that say how an inode is stored, and not what it is: `EXT4_INDEX_FL`, `EXT4_HUGE_FILE_FL`,
/// `EXT4_EXTENTS_FL`, `EXT4_EA_INODE_FL` and `EXT4_INLINE_DATA_FL`.
const STORAGE_FLAGS: u32 = 0x1000 | 0x4_0000 | 0x8_0000 | 0x20_0000 | 0x1000_0000;

/// A field, and what it is on each side.
pub(super) type Field = (String, Option<String>, Option<String>);

/// The fields in which inodes of the same kind differ.
pub(super) fn fields(a: &Inode, b: &Inode) -> Vec<Field> {
    let number = |number: u32| number.to_string();
    let links = |inode: &Inode| match inode.file_type {
        // That of a directory follows from what is in it.
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

/// Fields that no system call shows, in which inodes differ.
pub(super) fn hidden(a: &Inode, b: &Inode) -> Vec<Field> {
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

/// The attributes in which inodes differ.
pub(super) fn xattrs(a: &Xattrs, b: &Xattrs) -> Vec<Field> {
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

/// Bytes as they would stand in a program, and their number if they are many.
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
