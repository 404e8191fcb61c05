//! A tree in words: mtree(5), as mtree(8) of the BSDs, libarchive (bsdtar) and go-mtree read it.
//!
//! One line for each path, parents first, beginning with `.`: names and targets are encoded as vis(3) does with
//! `VIS_OCTAL`, so that a line has printable ASCII and single spaces alone. Its keywords:
//!
//! | keyword | |
//! |---|---|
//! | `type` | `file`, `dir`, `link`, `char`, `block`, `fifo` or `socket` |
//! | `mode` | permission, setuid, setgid and sticky bits, in octal |
//! | `uid`, `gid`, `nlink` | as numbers |
//! | `size` | of files, in bytes |
//! | `time` | last change of the content: seconds since 1970, rounded down, and nine digits of nanoseconds |
//! | `link` | target of a symlink |
//! | `device` | `native,<major>,<minor>` |
//! | `sha256digest` | of the content of files, holes included; not there for a file with more than 4 GiB of holes, or with more than is left of 64 GiB in all |
//! | `tags` | `inode<number>`, of all but directories that have more than one name: hard links have the same one |
//! | `xattr.<name>` | value of an extended attribute in base64 |
//!
//! Mtree(5) has no extended attributes. This is go-mtree's extension, which libarchive warns of and mtree(8) refuses. For them,
//! `sed 's/ xattr[.][^ ]*//g'` takes it out of a file.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ext4::read::Inode;
use ext4::{FileType, Xattrs};

/// What a line says besides what the inode does.
pub(super) struct Facts<'a> {
    /// Target of a symlink.
    pub(super) target: Option<&'a [u8]>,
    /// SHA-256 of the content of a file.
    pub(super) digest: Option<&'a str>,
    pub(super) xattrs: &'a Xattrs,
}

/// Begins a specification.
pub(super) fn begin(out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"#mtree\n")
}

/// Describes what is at a path, which is relative, without a `.` before it; that of the root is empty.
pub(super) fn entry(out: &mut impl Write, path: &[u8], inode: &Inode, facts: &Facts<'_>) -> io::Result<()> {
    let mut line = b".".to_vec();
    if !path.is_empty() {
        line.push(b'/');
        vis(path, &mut line);
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
    if let Some(target) = facts.target {
        line.extend(b" link=");
        vis(target, &mut line);
    }
    if let Some(device) = inode.device {
        write!(line, " device=native,{},{}", device.major, device.minor)?;
    }
    if let Some(digest) = facts.digest {
        write!(line, " sha256digest={digest}")?;
    }
    if inode.file_type != FileType::Directory && inode.links > 1 {
        write!(line, " tags=inode{}", inode.ino.get())?;
    }
    for (name, value) in facts.xattrs.iter() {
        line.extend(b" xattr.");
        vis(name, &mut line);
        write!(line, "={}", STANDARD.encode(value))?;
    }
    line.push(b'\n');
    out.write_all(&line)
}

/// Appends bytes as vis(3) writes them: `\` and three octal digits for all that some reader of mtree(5) takes for something
/// else (space, `#`, `=`, `\` and the characters of glob(7)) and all that is not printable ASCII.
fn vis(bytes: &[u8], line: &mut Vec<u8>) {
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
        vis(b"a b\n#c=\\\xff\x00*~", &mut line);
        assert_eq!(line, br"a\040b\012\043c\075\134\377\000\052~");
        let mut line = Vec::new();
        vis(&(0..=255).collect::<Vec<_>>(), &mut line);
        assert!(line.iter().all(u8::is_ascii_graphic));
    }
}
