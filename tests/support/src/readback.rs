//! Compares an image with the model of its tree, by three readers.

use std::collections::BTreeMap;

use ext4::read::Follow;
use ext4::{FileType, Timestamp};

use super::check;
use super::model::{Model, Node, Stat, split_path};
use super::reader::Reader;

/// Asserts that an image is consistent and equal to the model, for [`Reader`], which shares no code
/// with the crate.
pub fn assert_read_back(image: &[u8], model: &Model) {
    check::check(image);
    let reader = Reader::new(image);
    let expected = model.stats();
    let found = reader.paths();
    assert!(
        found.keys().map(|path| &path[..]).eq(expected.keys().copied()),
        "names: {:?}",
        found.keys()
    );
    let mut inodes = BTreeMap::new();
    for (path, (id, entry)) in expected {
        let ino = found[path];
        assert_eq!(reader.stat(ino), entry, "{}", path.escape_ascii());
        assert_eq!(
            *inodes.entry(id).or_insert(ino),
            ino,
            "hard links of {} have one inode",
            path.escape_ascii()
        );
        if let Node::File(content) = model.node(id) {
            assert!(reader.content(ino) == content.bytes(), "{}", path.escape_ascii());
        }
    }
}

/// Returns whether ext4-view 1.0 reads all inodes: it refuses times whose low half is negative.
pub fn is_readable_by_ext4_view(model: &Model) -> bool {
    let is_readable_time = |time: (i64, u32)| time.0 & 1 << 31 == 0;
    let mut entries = model.stats().into_values();
    entries.all(|(_, entry)| {
        [entry.accessed, entry.modified, entry.changed]
            .into_iter()
            .all(is_readable_time)
    })
}

/// Asserts that ext4-view reads an image as the model has it. ext4-view looks up every name in the
/// index of its directory, and verifies checksums.
pub fn assert_read_by_ext4_view(image: &[u8], model: &Model) {
    let view = ext4_view::Ext4::load(Box::new(image.to_vec())).expect("it was written");
    for (path, (id, entry)) in model.stats() {
        let absolute = [b"/", path].concat();
        let path = ext4_view::Path::try_from(&absolute[..]).expect("it was written");
        let metadata = view.symlink_metadata(path).expect("it was written");
        let time = |time: ext4_view::Timestamp| (time.seconds(), time.nanoseconds());
        assert_eq!(u32::from(metadata.mode()), entry.mode & 0o7777);
        assert_eq!((metadata.uid(), metadata.gid()), (entry.uid, entry.gid));
        assert_eq!(time(metadata.accessed()), entry.accessed);
        assert_eq!(time(metadata.modified()), entry.modified);
        match model.node(id) {
            Node::Directory => {
                let listed = view.read_dir(path).expect("it was written").count();
                let entries = model
                    .paths
                    .keys()
                    .filter(|other| is_child(other, &absolute[1..]))
                    .count();
                // `.` and `..` are listed too.
                assert_eq!(listed, entries + 2);
            }
            Node::File(content) => assert!(
                view.read(path).expect("it was written") == content.bytes(),
                "{}",
                path.display()
            ),
            Node::Symlink(target) => {
                assert!(metadata.is_symlink());
                assert_eq!(
                    view.read_link(path).expect("it was written").as_path().as_ref(),
                    &target[..]
                );
            }
            Node::CharDevice(..) => assert!(metadata.file_type().is_char_dev()),
            Node::BlockDevice(..) => assert!(metadata.file_type().is_block_dev()),
            Node::Fifo => assert!(metadata.file_type().is_fifo()),
            Node::Socket => assert!(metadata.file_type().is_socket()),
        }
    }
}

fn is_child(path: &[u8], directory: &[u8]) -> bool {
    !path.is_empty() && split_path(path).0 == directory
}

/// Asserts that an image without `inline_data` is equal to the model for the crate's own reader: by
/// a walk, and by a lookup of each path.
pub fn assert_read_by_crate(image: &[u8], model: &Model) {
    let reader = ext4::Reader::open(image).expect("it is an image");
    let mut expected = model.stats();
    for found in reader.walk() {
        let (absolute, inode) = found.expect("it was written");
        let path = &absolute[1..];
        let (id, entry) = expected.remove(path).expect("it is in the model");
        let time = |time: Timestamp| (time.seconds(), time.nanoseconds());
        let is_symlink = inode.file_type == FileType::Symlink;
        let found = Stat {
            mode: u32::from(inode.file_type.mode_bits() | inode.mode),
            uid: inode.uid,
            gid: inode.gid,
            links: inode.links.into(),
            size: (!inode.is_directory()).then_some(inode.size),
            accessed: time(inode.accessed),
            modified: time(inode.modified),
            changed: time(inode.changed),
            device: inode.device.map(|device| (device.major, device.minor)),
            target: is_symlink.then(|| reader.read_link(&inode).expect("a target")),
            xattrs: reader
                .xattrs(&inode)
                .expect("good attributes")
                .iter()
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect(),
        };
        assert_eq!(found, entry, "{}", path.escape_ascii());
        let named = reader.lookup(&absolute, Follow::No).expect("it was written");
        assert_eq!(named.ino, inode.ino, "{}", path.escape_ascii());
        if let Node::File(content) = model.node(id) {
            let bytes = reader.read(&absolute).expect("it was written");
            assert!(bytes == content.bytes(), "{}", path.escape_ascii());
        }
    }
    assert!(expected.is_empty(), "missing: {:?}", expected.keys());
}
