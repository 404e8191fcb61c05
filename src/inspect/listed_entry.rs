//! Entry of a listing.

use ext4::Timestamp;
use ext4::read::Inode;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

/// An entry of a directory, or a single file.
///
/// Serializes to the JSON of `microagent rootfs inspect ls`:
///
/// | member | |
/// |---|---|
/// | `name` | name; bytes that are not UTF-8 become U+FFFD |
/// | `type` | type in words: `file`, `directory`, `symlink`, … |
/// | `mode` | mode in octal digits: `"0644"` |
/// | `uid`, `gid` | numbers of owner and group |
/// | `size_bytes` | size in bytes |
/// | `mtime` | time of the last change, in seconds since 1970: `"1700000000.000000000"` |
/// | `target` | target of a symlink, or `null` |
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListedEntry {
    /// Name: any bytes other than `/` and NUL.
    pub name: Vec<u8>,
    /// Inode: type, mode, owner, size, links, times, device.
    pub inode: Inode,
    /// Target if the entry is a symlink, or `None`.
    pub target: Option<Vec<u8>>,
}

impl Serialize for ListedEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { name, inode, target } = self;
        let mut json = serializer.serialize_struct("ListedEntry", 8)?;
        json.serialize_field("name", &String::from_utf8_lossy(name))?;
        json.serialize_field("type", &inode.file_type.to_string())?;
        json.serialize_field("mode", &format!("{:04o}", inode.mode))?;
        json.serialize_field("uid", &inode.uid)?;
        json.serialize_field("gid", &inode.gid)?;
        json.serialize_field("size_bytes", &inode.size)?;
        json.serialize_field("mtime", &seconds(inode.modified))?;
        json.serialize_field("target", &target.as_deref().map(String::from_utf8_lossy))?;
        json.end()
    }
}

/// Formats a time as seconds since 1970 with nanoseconds, like `stat --format=%.9Y` except for
/// times before 1970.
fn seconds(time: Timestamp) -> String {
    format!("{}.{:09}", time.seconds(), time.nanoseconds())
}
