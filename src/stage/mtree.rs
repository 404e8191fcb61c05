//! Description of a tree in the format of mtree(5), as read by mtree(8) of the BSDs, libarchive
//! (bsdtar) and go-mtree.
//!
//! Each path has one line that begins with `.`; parents come first. Names and targets are encoded
//! like vis(3) with `VIS_OCTAL`, so a line consists of printable ASCII and single spaces. Keywords:
//!
//! | keyword | |
//! |---|---|
//! | `type` | `file`, `dir`, `link`, `char`, `block`, `fifo` or `socket` |
//! | `mode` | permission, setuid, setgid and sticky bits, in octal |
//! | `uid`, `gid`, `nlink` | as numbers |
//! | `size` | size of a regular file in bytes |
//! | `time` | last change of the content: seconds since 1970, rounded down, and nine digits of nanoseconds |
//! | `link` | target of a symlink |
//! | `device` | `native,<major>,<minor>` |
//! | `sha256digest` | SHA-256 of the content of a regular file, holes included; omitted for a file with more than 4 GiB of holes, and once 64 GiB of holes are hashed in total |
//! | `tags` | `inode<number>` for hard links: all names of one inode have the same tag |
//! | `xattr.<name>` | value of an extended attribute in base64 |
//!
//! mtree(5) has no keyword for extended attributes. `xattr.` is an extension of go-mtree;
//! libarchive warns about it, and mtree(8) rejects it. `sed 's/ xattr[.][^ ]*//g'` removes it from
//! a file.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ext4::read::Inode;
use ext4::{FileType, Xattrs};

/// Data of an entry that is not in its inode.
pub(super) struct MtreeDetails<'a> {
    /// Target of a symlink.
    pub(super) target: Option<&'a [u8]>,
    /// SHA-256 of the content of a file.
    pub(super) digest: Option<&'a str>,
    pub(super) xattrs: &'a Xattrs,
}

/// Writes the first line of an mtree file.
pub(super) fn write_header(out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"#mtree\n")
}

/// Writes the line of an entry. `path` is relative to the root and does not begin with `.`; the
/// root has an empty path.
pub(super) fn write_entry(
    out: &mut impl Write,
    path: &[u8],
    inode: &Inode,
    details: &MtreeDetails<'_>,
) -> io::Result<()> {
    let mut line = b".".to_vec();
    if !path.is_empty() {
        line.push(b'/');
        push_vis_encoded(path, &mut line);
    }
    let kind = match inode.file_type {
        FileType::Directory => "dir",
        FileType::RegularFile => "file",
        FileType::Symlink => "link",
        FileType::CharacterDevice => "char",
        FileType::BlockDevice => "block",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    };
    write!(
        line,
        " type={kind} mode={:04o} uid={} gid={} nlink={}",
        inode.mode, inode.uid, inode.gid, inode.links
    )?;
    if inode.file_type == FileType::RegularFile {
        write!(line, " size={}", inode.size)?;
    }
    write!(
        line,
        " time={}.{:09}",
        inode.modified.seconds(),
        inode.modified.nanoseconds()
    )?;
    if let Some(target) = details.target {
        line.extend(b" link=");
        push_vis_encoded(target, &mut line);
    }
    if let Some(device) = inode.device {
        write!(line, " device=native,{},{}", device.major, device.minor)?;
    }
    if let Some(digest) = details.digest {
        write!(line, " sha256digest={digest}")?;
    }
    if inode.file_type != FileType::Directory && inode.links > 1 {
        write!(line, " tags=inode{}", inode.ino.get())?;
    }
    for (name, value) in details.xattrs.iter() {
        line.extend(b" xattr.");
        push_vis_encoded(name, &mut line);
        write!(line, "={}", STANDARD.encode(value))?;
    }
    line.push(b'\n');
    out.write_all(&line)
}

/// Appends bytes in the encoding of vis(3). Bytes that are not printable ASCII, and those that a
/// reader of mtree(5) may interpret (space, `#`, `=`, `\` and the characters of glob(7)), become
/// `\` and three octal digits.
fn push_vis_encoded(bytes: &[u8], line: &mut Vec<u8>) {
    for &byte in bytes {
        if byte.is_ascii_graphic() && !b"\\#=*?[]\"'`$".contains(&byte) {
            line.push(byte);
        } else {
            line.extend([b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_word_of_printable_ascii() {
        let mut line = Vec::new();
        push_vis_encoded(b"a b\n#c=\\\xff\x00*~", &mut line);
        assert_eq!(line, br"a\040b\012\043c\075\134\377\000\052~");
        let mut line = Vec::new();
        push_vis_encoded(&(0..=255).collect::<Vec<_>>(), &mut line);
        assert!(line.iter().all(u8::is_ascii_graphic));
    }
}
