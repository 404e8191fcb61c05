//! Stacks of layers for the table of digests, each for one kind of difficulty. They are the same in
//! every run.

use support::tar::{Entry, archive};

/// Layers as tars, the lowest first.
type Layers = Vec<Vec<u8>>;

/// Returns the layers of a stack.
type Make = fn() -> Layers;

/// All stacks by name.
pub(crate) const STACKS: [(&str, Make); 11] = [
    ("whiteouts", whiteouts),
    ("links", links),
    ("attributes", attributes),
    ("sparse", sparse),
    ("names", names),
    ("many", many),
    ("big", big),
    ("deep", deep),
    ("kinds", kinds),
    ("shell", shell),
    (EVERYTHING, everything),
];

/// Name of the stack that combines the stacks of kinds, links, attributes, names and whiteouts.
pub(crate) const EVERYTHING: &str = "everything";

/// Returns the layers of a stack.
pub(crate) fn layers(name: &str) -> Layers {
    let (_, layers) = STACKS.iter().find(|(other, _)| *other == name).unwrap();
    layers()
}

fn whiteouts() -> Layers {
    let lower = [
        Entry::directory("etc"),
        Entry::file("etc/kept", "kept"),
        Entry::file("etc/removed", "removed"),
        Entry::file("etc/replaced", "by something longer"),
        Entry::directory("opt"),
        Entry::file("opt/hidden", pattern(1, 20_000)),
        Entry::directory("opt/tree"),
        Entry::file("opt/tree/hidden", pattern(2, 9000)),
        Entry::file("file-to-directory", "f"),
        Entry::directory("directory-to-file"),
        Entry::file("directory-to-file/gone", "g"),
        Entry::symlink("link-to-directory", "etc"),
    ];
    let middle = [
        Entry::file("etc/.wh.removed", ""),
        Entry::file("etc/replaced", "by something"),
        Entry::file("opt/own", pattern(3, 5000)),
        Entry::file("opt/.wh..wh..opq", ""),
        Entry::directory("file-to-directory"),
        Entry::file("file-to-directory/new", "n"),
        Entry::file("directory-to-file", "f"),
        Entry::directory("link-to-directory"),
    ];
    let upper = [
        Entry::file("etc/.wh.replaced", ""),
        Entry::file("etc/removed", "again"),
        Entry::file(".wh.opt", ""),
        Entry::directory("opt"),
        Entry::file("opt/last", pattern(4, 100)),
    ];
    vec![archive(&lower), archive(&middle), archive(&upper)]
}

fn links() -> Layers {
    let lower = [
        Entry::file("first", pattern(5, 5000)),
        Entry::hard_link("second", "first"),
        Entry::hard_link("third", "second"),
        Entry::file("other", "other"),
        Entry::hard_link("another", "other"),
        Entry::symlink("short", "first"),
        Entry::symlink("inline", [b't'; 59]),
        Entry::symlink("in-a-block", [b't'; 60]),
        Entry::symlink("longest", [b't'; 1000]),
        Entry::symlink("dangling", "../nowhere"),
        Entry::directory("usr"),
        Entry::directory("usr/lib"),
        Entry::symlink("lib", "usr/lib"),
        Entry {
            device: (1, 3),
            ..Entry::new(b'3', "null")
        },
        Entry::hard_link("null-too", "null"),
        Entry::hard_link("link-to-a-symlink", "short"),
    ];
    let upper = [
        Entry::file(".wh.first", ""),
        Entry::file("other", "replaced"),
        Entry::file("lib/through-the-link", "l"),
        Entry::hard_link("usr/lib/fourth", "third"),
    ];
    vec![archive(&lower), archive(&upper)]
}

fn attributes() -> Layers {
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permissions, id) in [
        (1_u16, 7_u16, u32::MAX),
        (2, 5, 1000),
        (4, 5, u32::MAX),
        (0x10, 5, u32::MAX),
        (0x20, 0, u32::MAX),
    ] {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let mut entries = vec![
        Entry::file("ping", "p").pax("SCHILY.xattr.security.capability", capability),
        Entry::file("acl", "a").pax("SCHILY.xattr.system.posix_acl_access", &acl),
        Entry::directory("acls")
            .pax("SCHILY.xattr.system.posix_acl_access", &acl)
            .pax("SCHILY.xattr.system.posix_acl_default", &acl),
        Entry::file("bytes", "b").pax("SCHILY.xattr.user.a\nb", b"c\n\0=\xff"),
        Entry::file("block", "b").pax("SCHILY.xattr.user.large", [b'l'; 1000]),
        Entry::file("values", "v")
            .pax("SCHILY.xattr.user.larger", pattern(6, 5000))
            .pax("SCHILY.xattr.user.largest", pattern(7, 60_000)),
    ];
    for number in 0..20 {
        entries.push(Entry::file(format!("shared-{number}"), "s").pax("SCHILY.xattr.user.shared", [b's'; 300]));
    }
    vec![archive(&entries)]
}

fn sparse() -> Layers {
    let entry = |name: &str, len: u64, ranges: &[(u64, u64)]| {
        let map: Vec<String> = ranges.iter().map(|(start, len)| format!("{start},{len}")).collect();
        let content: u64 = ranges.iter().map(|(_, len)| len).sum();
        Entry::file(name, pattern(8, usize::try_from(content).unwrap()))
            .pax("GNU.sparse.major", "0")
            .pax("GNU.sparse.minor", "1")
            .pax("GNU.sparse.name", name)
            .pax("GNU.sparse.size", len.to_string())
            .pax("GNU.sparse.map", map.join(","))
    };
    let fragmented: Vec<_> = (0..700).map(|index| (index * 16_384, 100)).collect();
    let entries = [
        entry("hole", 1 << 40, &[(1 << 40, 0)]),
        entry("ends", 1 << 32, &[(0, 10), ((1 << 32) - 10, 10)]),
        entry("fragmented", 700 * 16_384, &fragmented),
        Entry::file("zeros", vec![0; 300_000]),
    ];
    vec![archive(&entries)]
}

fn names() -> Layers {
    let long = "n".repeat(255);
    let entries = [
        Entry::file(&long, "long"),
        Entry::directory("d".repeat(200)),
        Entry::file(format!("{}/{}", "d".repeat(200), "f".repeat(200)), "longer"),
        Entry::file("case", "lower"),
        Entry::file("CASE", "upper"),
        Entry::file("back\\slash", "b"),
        Entry::file("c:", "c"),
        Entry::file("aux.txt", "a"),
        Entry::file("trailing ", "t"),
        Entry::file("dot.", "d"),
        Entry::file(b"not-utf-8-\xff\xfe", "n"),
        Entry::file("line\nbreak", "l"),
        Entry::file("e\u{301}", "decomposed"),
        Entry::file("\u{e9}", "composed"),
    ];
    vec![archive(&entries)]
}

/// Enough names for directories with an index of one and of two levels.
fn many() -> Layers {
    let mut entries = vec![
        Entry::directory("one"),
        Entry::directory("two"),
        Entry::directory("wide"),
    ];
    for number in 0..400 {
        entries.push(Entry::file(format!("one/{number}"), number.to_string()));
        entries.push(Entry::directory(format!("wide/{number}")));
    }
    entries.push(Entry::file("two/first", ""));
    for number in 0..2000 {
        entries.push(Entry::hard_link(format!("two/{number:x>240}"), "two/first"));
    }
    vec![archive(&entries)]
}

/// More content than fits in a block group with small blocks.
fn big() -> Layers {
    let entries = [
        Entry::file("big", pattern(9, 20_000_000)),
        Entry::file("small", pattern(10, 10)),
        Entry::file("removed", pattern(11, 3_000_000)),
        Entry::file("last", pattern(12, 5_000_000)),
    ];
    vec![archive(&entries), archive(&[Entry::file(".wh.removed", "")])]
}

fn deep() -> Layers {
    let mut entries = Vec::new();
    let mut path = String::new();
    for level in 0..300 {
        path.push_str(&level.to_string());
        path.push('/');
        entries.push(Entry::directory(&path));
    }
    entries.push(Entry::file(format!("{path}bottom"), "b"));
    entries.push(Entry::file("implied/by/its/child", "c"));
    vec![archive(&entries)]
}

/// Every type of file, and unusual owners, modes and times.
fn kinds() -> Layers {
    let device = |flag, name, device| Entry {
        device,
        mode: 0o660,
        ..Entry::new(flag, name)
    };
    let owned = |name, mode, uid, gid| Entry {
        mode,
        uid,
        gid,
        ..Entry::file(name, "o")
    };
    let entries = [
        Entry {
            mode: 0o750,
            mtime: 77,
            ..Entry::directory("./")
        },
        device(b'3', "null", (1, 3)),
        device(b'3', "largest", (4095, 1_048_575)),
        device(b'4', "disk", (8, 300)),
        Entry::new(b'6', "pipe"),
        owned("setuid", 0o4755, 0, 0),
        owned("setgid", 0o2755, 1, 2),
        owned("nobody", 0o600, 65_534, 65_534),
        owned("container", 0o000, 100_000, 2_147_483_647),
        Entry {
            mode: 0o1777,
            ..Entry::directory("tmp")
        },
        Entry::file("empty", ""),
        Entry::file("before", "b").pax("mtime", "-2147483648"),
        Entry::file("fraction", "f").pax("mtime", "-1.5"),
        Entry::file("nanoseconds", "n").pax("mtime", "1700000000.123456789"),
        Entry::file("2038", "2").pax("mtime", "2147483648"),
        Entry::file("last", "l").pax("mtime", "15032385535.999999999"),
        Entry::file("accessed", "a")
            .pax("atime", "5.000000001")
            .pax("ctime", "6"),
    ];
    vec![archive(&entries)]
}

/// A shell for `--exec`, and the files that configure the init.
fn shell() -> Layers {
    let program = |name| Entry {
        mode: 0o755,
        ..Entry::file(name, "#!")
    };
    let entries = [
        Entry::directory("bin"),
        program("bin/sh"),
        Entry::file("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
        Entry::file("etc/hostname", "golden\n"),
        Entry::directory("run/lock"),
    ];
    vec![archive(&entries)]
}

fn everything() -> Layers {
    [kinds(), links(), attributes(), names(), whiteouts()].concat()
}

/// Returns bytes without zeros, with a long period.
fn pattern(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    std::iter::repeat_with(|| {
        // Xorshift (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1] | 1
    })
    .take(len)
    .collect()
}
