//! Fixed trees and options, for tests that compare bytes.

use ext4::{Fit, Inodes, Journal, Label, Metadata, Options, Output, Size, Timestamp};

use super::content::Content;
use super::model::{Build, Node, permissions};

/// Options for an image of `kib` KiB with the least metadata: no journal, no reserved descriptors.
pub fn tiny_options(kib: u64) -> Options {
    Options {
        block_size: ext4::BlockSize::Kib1,
        size: Size::Fixed(kib << 10),
        inodes: Inodes::AtLeast(0),
        journal: Journal::None,
        growth: false,
        label: Label::new("tiny").unwrap(),
        ..Options::new(*b"a uuid of a test")
    }
}

/// Default options, but for a size of the content and 1 MiB of free space.
pub fn fit_options() -> Options {
    Options {
        size: Size::Fit(Fit {
            free: 1 << 20,
            free_percent: 0,
            min: 1 << 20,
            max: 1 << 40,
        }),
        created: 1_000_000_000,
        ..Options::new(*b"a uuid of a test")
    }
}

/// Adds a file of each kind, with attributes in the inode and in a block.
pub fn put_every_kind<O: Output>(build: &mut Build<O>) {
    let mut metadata = Metadata {
        mode: 0o4755,
        uid: 100_000,
        gid: 0x1234_5678,
        accessed: Timestamp::saturating(1, 1),
        modified: Timestamp::saturating(1 << 31, 2),
        changed: Timestamp::saturating(-1, 999_999_999),
        ..Metadata::default()
    };
    metadata.xattrs.set(b"user.small", b"in the inode").unwrap();
    metadata.xattrs.set(b"user.large", &[b'x'; 100]).unwrap();
    let file = Node::File(Content::dense(1, 20));
    build.put("file", metadata, file).unwrap();
    build.link("hard link", "file");
    build.add_file(
        "sparse",
        Content::sparse(2, 1 << 30, vec![5000..5001, (1 << 30) - 1..1 << 30]),
    );
    let ranges = (0..5).map(|index| index * 8192..index * 8192 + 4).collect();
    build.add_file("fragmented", Content::sparse(3, 40_000, ranges));
    build.add_directory("directory");
    build.add_directory("directory/empty");
    for (path, mode, node) in [
        ("short", 0o777, Node::Symlink(b"target".to_vec())),
        ("long", 0o777, Node::Symlink(vec![b't'; 60])),
        ("null", 0o666, Node::CharDevice(1, 3)),
        ("disk", 0o660, Node::BlockDevice(259, 300)),
        ("directory/fifo", 0o600, Node::Fifo),
        ("directory/socket", 0o600, Node::Socket),
    ] {
        build.put(path, permissions(mode), node).unwrap();
    }
}

/// Adds a directory with enough names for an index.
pub fn put_indexed_directory<O: Output>(build: &mut Build<O>) {
    build.add_directory("names");
    build.add_file("names/0", Content::dense(4, 0));
    for number in 1..12 {
        build.link(format!("names/{number:n>120}"), "names/0");
    }
}
