//! Trees that exercise each structure. Each function gets the block size in bytes.

use std::fs::File;

use ext4::{MAX_LINKS, Metadata, Timestamp, Xattrs};

use support::content::Content;
use support::model::{Build, Node, permissions};

/// Only the root.
pub(crate) fn empty(_: &mut Build<File>, _: u64) {}

/// One short file.
pub(crate) fn one_file(build: &mut Build<File>, _: u64) {
    build.add_file("hello", Content::dense(1, 5));
}

/// Files of every type, with metadata at the ends of their ranges.
pub(crate) fn every_kind(build: &mut Build<File>, _: u64) {
    let times = [
        Timestamp::MIN,
        Timestamp::saturating(-1, 999_999_999),
        Timestamp::default(),
        Timestamp::saturating((1 << 31) - 1, 1),
        Timestamp::saturating(1 << 31, 123_456_789),
        Timestamp::saturating((1 << 32) + 5, 0),
        Timestamp::saturating(3 << 32, 5),
        Timestamp::MAX,
    ];
    let kinds = [
        Node::Directory,
        Node::File(Content::dense(2, 0)),
        Node::File(Content::dense(3, 12_345)),
        Node::Symlink(b"a target".to_vec()),
        Node::CharDevice(1, 3),
        Node::CharDevice(255, 255),
        Node::CharDevice(256, 0),
        Node::CharDevice(4095, (1 << 20) - 1),
        Node::BlockDevice(0, 256),
        Node::BlockDevice(259, 70_000),
        Node::Fifo,
        Node::Socket,
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        for (other, mode) in [0o0, 0o644, 0o1777, 0o2755, 0o4711, 0o7777].into_iter().enumerate() {
            // The kernel takes 2^32 - 1 for an invalid owner.
            let ids = [0, 1, 65_534, 65_535, 65_536, u32::MAX - 1];
            let metadata = Metadata {
                mode,
                uid: ids[(number + other) % 6],
                gid: ids[(number + 2 * other + 1) % 6],
                accessed: times[(number + other) % 8],
                modified: times[(number + other + 3) % 8],
                changed: times[(number + 2 * other + 5) % 8],
                xattrs: Xattrs::default(),
            };
            build.put(format!("{number} {other}"), metadata, kind.clone()).unwrap();
        }
    }
    let names: [&[u8]; 5] = [
        b"\xFF\xFE",
        b"new\nline",
        b"...",
        "\u{FC}ml\u{E4}ut".as_bytes(),
        &[b'n'; 255],
    ];
    for name in names {
        build
            .put(name, permissions(0o644), Node::File(Content::dense(4, 1)))
            .unwrap();
    }
}

/// Symlinks around the lengths at which they no longer fit into the inode, and the longest.
pub(crate) fn symlinks(build: &mut Build<File>, block_size: u64) {
    for len in [1, 59, 60, 61, 1023, 1024, 2047, 2048, 4095] {
        if len < block_size {
            let target = vec![b't'; usize::try_from(len).unwrap()];
            build
                .put(format!("{len}"), permissions(0o777), Node::Symlink(target))
                .unwrap();
        }
    }
}

/// Makes a regular file with the maximum number of hard links, and two hard links to each type of
/// file except directories.
pub(crate) fn hard_links(build: &mut Build<File>, _: u64) {
    build.add_directory("many");
    build.add_file("many/0", Content::dense(5, 100));
    for number in 1..MAX_LINKS {
        build.link(format!("many/{number}"), "many/0");
    }
    let kinds = [
        Node::Symlink(b"short".to_vec()),
        Node::Symlink(vec![b'l'; 500]),
        Node::CharDevice(5, 1),
        Node::BlockDevice(8, 1 << 18),
        Node::Fifo,
        Node::Socket,
        Node::File(Content::dense(6, 1 << 17)),
    ];
    build.add_directory("others");
    for (number, kind) in kinds.into_iter().enumerate() {
        build.put(format!("{number}"), permissions(0o600), kind).unwrap();
        build.link(format!("others/{number}"), format!("{number}"));
        build.link(format!("others/{number} again"), format!("others/{number}"));
        build.remove(format!("{number}"));
    }
}

/// Directories of one full block, of 4 bytes and one entry more, of two full blocks, and of one
/// name.
pub(crate) fn full_directories(build: &mut Build<File>, block_size: u64) {
    build.add_file("file", Content::dense(7, 10));
    // 12 bytes of each block hold its checksum, 4 stay free, and 24 hold `.` and `..`. A name of 8
    // bytes takes 16 bytes, and one of 16 takes 24.
    let full = (block_size - 12 - 4 - 24 - 24) / 16;
    let directories = [
        ("full", "last of 16 bytes", full),
        ("4 bytes more", "last", full + 1),
        ("one more", "last of 16 bytes", full + 1),
        ("two blocks", "last of 16 bytes", 2 * full),
    ];
    for (directory, last, count) in directories {
        build.add_directory(directory);
        build.link(format!("{directory}/{last}"), "file");
        for number in 0..count {
            build.link(format!("{directory}/{number:08}"), "file");
        }
    }
    build.add_directory("one name");
    build.link(format!("one name/{}", "n".repeat(255)), "file");
}

/// An index with nodes below its root. Names are long, so that few fill a leaf.
pub(crate) fn deep_index(build: &mut Build<File>, block_size: u64) {
    build.add_directory("directory");
    build.add_file("directory/file", Content::dense(8, 10));
    // More leaves than the root has room for, of about `block_size` / 264 names each.
    let leaves = (block_size - 40) / 8 + 1;
    for number in 0..(leaves * block_size / 264).min(60_000) {
        build.link(format!("directory/{number:x>255}"), "directory/file");
    }
}

/// Directories nested 150 deep, and 300 in one directory.
pub(crate) fn nested_directories(build: &mut Build<File>, _: u64) {
    let mut path = String::from("d");
    build.add_directory(&path);
    for depth in 0..150 {
        path = format!("{path}/{depth}");
        build.add_directory(&path);
    }
    for number in 0..300 {
        build.add_directory(format!("d/sub {number}"));
    }
}

/// Extended attributes in the inode, in a block, in both, and at the limits of each.
pub(crate) fn xattrs(build: &mut Build<File>, block_size: u64) {
    // 96 bytes in the inode: 4 of magic, 4 of zeros after the entries. An entry is 16 bytes and its
    // name.
    let inode_room = 96 - 4 - 4 - 20;
    let block_room = usize::try_from(block_size).unwrap() - 32 - 4 - 20;
    let lengths = [
        0,
        1,
        3,
        4,
        inode_room - 1,
        inode_room,
        inode_room + 1,
        500,
        block_room - 1,
        block_room,
    ];
    for (number, len) in lengths.into_iter().enumerate() {
        // The kernel and its readers accept 64 KiB at most.
        let len = len.min((1 << 16) - 64);
        put_with_xattrs(build, &format!("value {number}"), &[(b"user.note", &vec![b'v'; len])]);
    }
    put_with_xattrs(
        build,
        "longest name",
        &[(&[&b"user."[..], &[b'n'; 250]].concat(), b"value")],
    );
    put_with_xattrs(
        build,
        "all namespaces",
        &[
            (b"user.b", b"1"),
            (b"user.ab", b"22"),
            (b"user.aa", b"333"),
            (b"trusted.overlay.opaque", b"y"),
            (
                b"security.capability",
                b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            ),
            (b"security.ima", b"\x01\n\xFF"),
            (b"user.long", &[b'l'; 300]),
            (b"user.\xFF\n=", b"odd name"),
        ],
    );
    let acl = |user: u32| {
        let entries: [(u16, u16, u32); 6] = [
            (0x01, 7, u32::MAX),
            (0x02, 5, user),
            (0x02, 6, u32::MAX - 1),
            (0x04, 5, u32::MAX),
            (0x10, 7, u32::MAX),
            (0x20, 0, u32::MAX),
        ];
        let entries = entries.iter().flat_map(|(tag, permission, id)| {
            [&tag.to_le_bytes()[..], &permission.to_le_bytes(), &id.to_le_bytes()].concat()
        });
        2u32.to_le_bytes().into_iter().chain(entries).collect::<Vec<_>>()
    };
    let mut metadata = with_xattrs(
        0o770,
        &[(b"system.posix_acl_access", &acl(1)), (b"user.note", &[9; 400])],
    );
    build
        .put("access", metadata.clone(), Node::File(Content::dense(9, 1)))
        .unwrap();
    metadata.xattrs.set(b"system.posix_acl_default", &acl(70_000)).unwrap();
    build.put("default", metadata, Node::Directory).unwrap();
    // Symlinks and devices cannot have `user.` attributes.
    let metadata = with_xattrs(0o777, &[(b"trusted.note", &[1; 40]), (b"security.note", &[2; 200])]);
    build
        .put("symlink", metadata.clone(), Node::Symlink(b"nowhere".to_vec()))
        .unwrap();
    build.put("device", metadata, Node::CharDevice(10, 200)).unwrap();
}

/// Attribute values in inodes of their own: alone, together, and shared by inodes and by
/// attributes.
pub(crate) fn large_values(build: &mut Build<File>, _: u64) {
    let value = |byte, len| vec![byte; len];
    for (number, len) in [4_100, 5_000, 65_535, 65_536].into_iter().enumerate() {
        put_with_xattrs(build, &format!("length {number}"), &[(b"user.large", &value(1, len))]);
    }
    for number in 0..40 {
        let attributes: [(&[u8], &[u8]); 4] = [
            (b"user.first", &value(2, 9_000)),
            (b"user.second", &value(2, 9_000)),
            (b"user.third", &value(3, 60_000)),
            (b"user.small", &value(number % 3, 80)),
        ];
        put_with_xattrs(build, &format!("many {number}"), &attributes);
    }
    let metadata = with_xattrs(0o755, &[(b"trusted.large", &value(3, 60_000))]);
    build.put("directory", metadata.clone(), Node::Directory).unwrap();
    build.put("fifo", metadata, Node::Fifo).unwrap();
}

/// Little content, and every structure that can be damaged: an index, extent nodes, and attributes
/// in the inode, in a block, and in inodes of their own.
pub(crate) fn every_structure(build: &mut Build<File>, block_size: u64) {
    build.add_directory("index");
    for number in 0..2 * block_size / 20 {
        build.link(format!("index/{number:0>40}"), "2 0");
    }
    build.add_file("extents", Content::in_extents(9, 100, block_size));
    build
        .put("long", permissions(0o777), Node::Symlink(vec![b't'; 200]))
        .unwrap();
    put_with_xattrs(build, "value", &[(b"user.large", &[1; 5_000])]);
    for name in ["one", "other"] {
        put_with_xattrs(build, name, &[(b"user.note", b"near"), (b"user.shared", &[2; 300])]);
    }
}

/// Small files and directories, around the lengths at which they no longer fit into the inode.
pub(crate) fn small_files(build: &mut Build<File>, _: u64) {
    for len in [0, 1, 59, 60, 61, 127, 128, 129, 160] {
        build.add_file(format!("{len}"), Content::dense(len, len));
        let path = format!("{len} with attributes");
        let metadata = with_xattrs(0o644, &[(b"user.note", b"a note")]);
        build.put(path, metadata, Node::File(Content::dense(len, len))).unwrap();
    }
    build.add_file("a hole", Content::sparse(1, 100, vec![]));
    build.add_file("data and a hole", Content::sparse(2, 100, vec![0..1, 30..60]));
    // Entries of 12 bytes. 56 bytes of them fit into `i_block`, and 68 more into an attribute.
    for count in [1, 4, 5, 9, 10, 11] {
        build.add_directory(format!("directory {count}"));
        for number in 0..count {
            build.link(format!("directory {count}/{number:04}"), "60");
        }
    }
    build.add_directory("parent");
    build.add_directory("parent/child");
    build.add_directory("parent/child/grandchild");
}

/// Attribute blocks with more inodes than can share one.
pub(crate) fn shared_xattrs(build: &mut Build<File>, _: u64) {
    for directory in ["a", "b"] {
        build.add_directory(directory);
        for number in 0..1_500 {
            // Even numbers share one block, odd numbers the other.
            let value = [number % 2; 300];
            put_with_xattrs(
                build,
                &format!("{directory}/{number}"),
                &[(b"user.shared", &value.map(|byte| u8::try_from(byte).unwrap()))],
            );
        }
    }
    put_with_xattrs(build, "alone", &[(b"user.shared", &[2; 300])]);
}

/// Sparse files: all hole, a hole first or last, ranges that begin and end within a block, and far
/// ends.
pub(crate) fn sparse_files(build: &mut Build<File>, block_size: u64) {
    let one = |range| Vec::from([range]);
    let largest = (1_u64 << 40).min(block_size << 31);
    let files = [
        (1, vec![]),
        (largest, vec![]),
        (largest, vec![0..1, largest / 2..largest / 2 + 1, largest - 1..largest]),
        (100_000, one(0..7_000)),
        (100_000, one(93_333..100_000)),
        (
            3_000_000,
            vec![
                1_000..1_001,
                5_000..9_000,
                9_500..9_501,
                70_001..70_001,
                2_000_000..2_100_003,
            ],
        ),
        (1 << 22, one((1 << 21)..(1 << 21) + block_size)),
    ];
    for (number, (len, ranges)) in files.into_iter().enumerate() {
        build.add_file(
            format!("sparse {number}"),
            Content::sparse(10 + number as u64, len, ranges),
        );
    }
}

/// Files with as many extents as fit into the inode, a leaf, and the root's leaves, and one more.
pub(crate) fn many_extents(build: &mut Build<File>, block_size: u64) {
    let leaf = (block_size - 12) / 12;
    for count in [4, 5, leaf, leaf + 1, 4 * leaf, 4 * leaf + 1] {
        // With large blocks, these files are too large for a test.
        if count * block_size < 64 << 20 {
            build.add_file(
                format!("{count} extents"),
                Content::in_extents(count, count, block_size),
            );
        }
    }
}

/// Files of which most are removed, so that later content takes their place.
pub(crate) fn churn(build: &mut Build<File>, block_size: u64) {
    for round in 0..4 {
        for number in 0..60 {
            let len = (number * 7_919) % 300_000 + round;
            build.add_file(format!("{round} {number}"), Content::dense(100 * round + number, len));
        }
        build.add_file(format!("sparse {round}"), Content::in_extents(round, 50, block_size));
        for number in (0..60).filter(|number| number % 4 != round) {
            build.remove(format!("{round} {number}"));
        }
    }
    build.remove("sparse 1");
    build.remove("sparse 2");
}

fn with_xattrs(mode: u16, attributes: &[(&[u8], &[u8])]) -> Metadata {
    let mut metadata = permissions(mode);
    for (name, value) in attributes {
        metadata.xattrs.set(name, value).unwrap();
    }
    metadata
}

fn put_with_xattrs(build: &mut Build<File>, path: &str, attributes: &[(&[u8], &[u8])]) {
    build
        .put(path, with_xattrs(0o644, attributes), Node::File(Content::dense(11, 3)))
        .unwrap();
}
