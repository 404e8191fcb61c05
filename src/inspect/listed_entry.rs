//! An entry of a directory.

use ext4::Timestamp;
use ext4::read::Inode;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

/// An entry of a directory, or any other file.
///
/// Its JSON is that of the command `microagent rootfs inspect ls`:
///
/// | member | |
/// |---|---|
/// | `name` | the name; bytes that are not UTF-8 become U+FFFD |
/// | `type` | the type in words: `file`, `directory`, `symlink`, … |
/// | `mode` | the mode in octal digits: `"0644"` |
/// | `uid`, `gid` | the numbers of owner and group |
/// | `size_bytes` | the size |
/// | `mtime` | the time of the last change in seconds since 1970: `"1700000000.000000000"` |
/// | `target` | the target of a symlink, else `null` |
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListedEntry {
    /// Its name: any bytes but `/` and NUL.
    pub name: Vec<u8>,
    /// Its inode: type, mode, owner, size, links, times, device.
    pub inode: Inode,
    /// Target of a symlink.
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

/// Seconds since 1970, with nanoseconds: as `stat --format=%.9Y` prints it, but for times before
/// 1970.
fn seconds(time: Timestamp) -> String {
    format!("{}.{:09}", time.seconds(), time.nanoseconds())
}
