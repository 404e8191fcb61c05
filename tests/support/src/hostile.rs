//! An image of files that are hard to copy between file systems: odd names, times, owners and
//! attributes, sparse and hard-linked files, deep and unreadable directories.

use std::path::{Path, PathBuf};

use super::single_image::Layout;
use super::tar::{Entry, archive};

/// A POSIX ACL in the form of getxattr(2), for mode 0644: user 5 may also read.
const ACL: &[u8] = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x05\0\0\0\x04\0\x04\0\xff\xff\xff\xff\
    \x10\0\x04\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";

/// File names with a special meaning to shells, parsers or terminals.
const NAMES: [&[u8]; 16] = [
    b"two  words ",
    b"new\nline",
    b"tab\tand\rreturn",
    b"\"quoted\"",
    b"it's",
    b"back\\slash\\",
    b"\\040",
    b"#comment",
    b"a=b",
    b"<2>",
    b"-rf",
    b"*?[a-z]$HOME`id`",
    b"\xff\xfe not UTF-8",
    "ünïcödé".as_bytes(),
    b"\x1b[31m",
    b"...",
];

/// Writes the image as an OCI layout into a new subdirectory, and returns its path.
pub fn hostile_layout(directory: &Path) -> PathBuf {
    let path = directory.join("hostile");
    let layout = Layout::create(path.clone());
    layout.image(&[layout.gzip_layer(&layer())]);
    path
}

fn layer() -> Vec<u8> {
    let mut entries = vec![
        Entry {
            mode: 0o750,
            uid: 4_000_000_000,
            gid: 3_999_999_999,
            ..Entry::directory("./").pax("mtime", "1234567890.987654321")
        },
        Entry::file("passwd", "root:x:0:0::/:/bin/sh\n"),
        // Leads out of the tree.
        Entry::symlink("outside", "/etc"),
        Entry::symlink("above", "../../../../../../../etc/passwd"),
        Entry::directory("names"),
        Entry::directory("specials"),
        Entry::directory("links"),
    ];
    for (number, name) in NAMES.iter().enumerate() {
        let at = |directory: &[u8]| [directory, b"/", name].concat();
        let mut file = Entry::file(at(b"names"), name);
        file.mtime = i64::try_from(number).unwrap() * 400_000_000 - 2_000_000_000;
        file.mode = u32::try_from(number).unwrap() * 0o401 % 0o10000;
        entries.push(file.pax("SCHILY.xattr.user.name", name));
        entries.push(Entry::directory(at(b"directories")));
        entries.push(Entry::file([&at(b"directories"), &b"/"[..], name].concat(), "inside"));
        entries.push(Entry::symlink(at(b"symlinks"), name));
        for (flag, kind) in [(b'3', b"char"), (b'4', b"bloc"), (b'6', b"fifo")] {
            let mut special = Entry::new(flag, [&at(b"specials"), &b"."[..], kind].concat());
            let number = u32::try_from(number).unwrap();
            special.device = (number * 250, number * 60_000);
            special.uid = 70_000;
            special.mode = 0o4620;
            entries.push(special);
        }
        let name_and = |directory: &[u8], more: &[u8]| [&at(directory), more].concat();
        for (link, first) in [
            (at(b"links"), at(b"names")),
            (name_and(b"specials", b".again"), name_and(b"specials", b".bloc")),
            (name_and(b"links", b".symlink"), at(b"symlinks")),
        ] {
            entries.push(Entry::hard_link(link, first));
        }
    }
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    entries.extend([
        Entry {
            mode: 0o6644,
            ..Entry::file("attributes", "x")
                .pax("SCHILY.xattr.security.capability", capability)
                .pax("SCHILY.xattr.system.posix_acl_access", ACL)
                .pax("SCHILY.xattr.user.binary", b"\0\n=\xff")
                .pax("SCHILY.xattr.user.empty", b"")
                .pax("SCHILY.xattr.user.large", vec![b'l'; 3000])
                .pax("SCHILY.xattr.user.two words \"'", "spaces")
                .pax("SCHILY.xattr.trusted.overlay.opaque", "y")
        },
        Entry {
            mode: 0o3775,
            ..Entry::directory("defaults")
        }
        .pax("SCHILY.xattr.system.posix_acl_default", ACL),
        Entry::symlink("attributed", "names").pax("SCHILY.xattr.trusted.note", "of a symlink"),
        Entry::symlink("long", "long/".repeat(300)),
        Entry::file("earliest", "")
            .pax("mtime", "-2147483648")
            .pax("atime", "-1.5"),
        Entry::file("before 1970", "")
            .pax("mtime", "-1")
            .pax("atime", "-0.000000001"),
        Entry::file("after 2038", "").pax("mtime", "4294967295.999999999"),
        Entry::file("latest", "").pax("mtime", "15032385534.999999999"),
        Entry {
            mode: 0,
            ..Entry::directory("closed")
        },
        Entry {
            mode: 0,
            ..Entry::file("closed/file", "nobody reads this")
        },
        Entry {
            mode: 0o555,
            ..Entry::directory("closed/read only/deeper")
        },
        Entry::file("large", vec![b'L'; 3_000_001]),
        Entry::file("sparse", "beginning.")
            .pax("GNU.sparse.size", "20000000")
            .pax("GNU.sparse.map", "4096000,5,19999995,5")
            .pax("GNU.sparse.numblocks", "2")
            .pax("GNU.sparse.name", "sparse"),
    ]);
    for number in 0..600 {
        entries.push(Entry::file(format!("many/{number:0200}"), ""));
    }
    for number in 0..200 {
        entries.push(Entry::new(b'3', format!("crowd/{number:0200}")));
    }
    for depth in 1..200 {
        entries.push(Entry::directory("deep/".repeat(depth)));
    }
    archive(&entries)
}
