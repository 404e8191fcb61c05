//! Compares the blocks that a [`Reader`] attributes to structures and files with the result of an
//! independent check.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::Cursor;

use ext4::read::InodeBlocks;
use ext4::read::superblock_fields::superblock_fields;
use ext4::{BlockRange, BlockSize, Ino, Options, Reader, Size};

use support::content::Content;
use support::model::{Build, Node, permissions};
use support::samples::{fit_options, put_every_kind, put_indexed_directory, tiny_options};

/// Returns all blocks that a reader attributes to a structure or a file. A block with two owners is
/// included once.
fn owned_blocks(image: &[u8]) -> BTreeSet<u64> {
    let reader = Reader::open(Cursor::new(image)).unwrap();
    let one = |start| BlockRange { start, count: 1 };
    let mut blocks = Vec::new();
    for group in reader.groups().unwrap() {
        blocks.extend(group.superblock.map(one));
        blocks.extend(group.descriptors);
        blocks.extend([one(group.block_bitmap), one(group.inode_bitmap), group.inode_table]);
    }
    let mut add = |found: &InodeBlocks| {
        blocks.extend(found.extents.iter().map(|extent| extent.blocks));
        blocks.extend(found.nodes.iter().copied().chain(found.xattr_block).map(one));
    };
    let mut others: BTreeSet<Ino> = reader.info().nameless_inodes.into_iter().collect();
    for found in reader.walk() {
        let found = reader.blocks(&found.unwrap().1).unwrap();
        add(&found);
        others.extend(found.value_inodes);
    }
    for ino in others {
        let inode = reader.inode_in_use(ino).unwrap();
        add(&inode.map(|inode| reader.blocks(&inode).unwrap()).unwrap_or_default());
    }
    let blocks = blocks.into_iter();
    blocks
        .flat_map(|blocks| blocks.start.get()..blocks.end().get())
        .collect()
}

/// Adds attribute inodes, extent nodes, and files of each kind.
fn put_every_structure(build: &mut Build<Vec<u8>>) {
    put_every_kind(build);
    put_indexed_directory(build);
    build.add_file("extents", Content::in_extents(5, 400, 4096));
    for name in ["a", "b"] {
        let mut metadata = permissions(0o644);
        metadata.xattrs.set(b"user.large", &[b'l'; 9000]).unwrap();
        build.put(name, metadata, Node::Fifo).unwrap();
    }
}

#[test]
fn every_block_in_use_has_an_owner() {
    type Change = fn(&mut Options);
    let changes: [Change; 4] = [
        |_| {},
        |options| options.block_size = BlockSize::Kib1,
        |options| options.inline_data = true,
        |options| options.size = Size::Fixed(300 << 20),
    ];
    for change in changes {
        let mut options = fit_options();
        change(&mut options);
        let mut build = Build::new(Vec::new(), options).unwrap();
        put_every_structure(&mut build);
        let image = build.finish().unwrap().0;
        let known: BTreeSet<u64> = support::check::check(&image).into_keys().collect();
        let mut owned = owned_blocks(&image);
        // With blocks of 1 KiB, the boot area is a block of its own.
        owned.extend(known.contains(&0).then_some(0));
        assert_eq!(owned, known);
    }
    let image = Build::new(Vec::new(), tiny_options(64)).unwrap().finish().unwrap().0;
    assert!(owned_blocks(&image).contains(&1));
}

#[test]
fn every_byte_of_the_superblock_is_in_a_field() {
    let image = Build::new(Vec::new(), tiny_options(64)).unwrap().finish().unwrap().0;
    let fields = |image: &[u8]| superblock_fields(&Reader::open(Cursor::new(image)).unwrap());
    let before = fields(&image);
    let value = |name: &str| before.iter().find(|(field, _)| *field == name).unwrap().1.clone();
    assert_eq!(value("uuid"), "61207575-6964-206f-6620-612074657374");
    assert_eq!((&*value("volume_name"), &*value("blocks_count")), ("tiny", "64"));

    // A change of any byte changes a field, or makes the superblock invalid. Without checksums,
    // other bytes are accepted.
    let mut image = image;
    image[1024 + 0x65] &= !4;
    let before = fields(&image);
    let mut found = 0;
    for at in 0..1024 {
        let mut other = image.clone();
        other[1024 + at] ^= 1;
        if let Ok(reader) = Reader::open(Cursor::new(&other)) {
            assert_ne!(superblock_fields(&reader), before, "byte {at:#x} is in no field");
            found += 1;
        }
    }
    assert!(found > 1000, "{found}");

    // `s_last_mounted`: control characters are not printed as they are.
    image[1024 + 0x88..][..3].copy_from_slice(b"\x1b[m");
    let values = fields(&image);
    let (_, value) = values.iter().find(|(field, _)| *field == "last_mounted").unwrap();
    assert_eq!(*value, format!("1b5b6d{}", "0".repeat(2 * 61)));
}

/// With `sparse_super2`, copies of the superblock are in the first group and in the two groups that
/// the superblock names.
#[test]
fn sparse_super2_backups_are_in_the_groups_that_the_superblock_names() {
    let options = Options {
        size: Size::Fixed(40 << 20),
        block_size: BlockSize::Kib1,
        ..Options::new([7; 16])
    };
    let (mut image, _) = ext4::Formatter::new(Vec::new(), options)
        .unwrap()
        .finish(ext4::Tree::default())
        .unwrap();
    let groups = |image: &[u8]| -> Vec<u32> {
        let groups = Reader::open(Cursor::new(image)).unwrap().groups().unwrap();
        let groups = groups.iter().filter(|group| group.superblock.is_some());
        groups.map(|group| group.group).collect()
    };
    assert_eq!(groups(&image), [0, 1, 3]);
    // `COMPAT_SPARSE_SUPER2`, `s_backup_bgs`, and no checksums.
    image[1024 + 0x5D] |= 2;
    image[1024 + 0x24C..1024 + 0x254].copy_from_slice(&[2, 0, 0, 0, 4, 0, 0, 0]);
    image[1024 + 0x65] &= !4;
    assert_eq!(groups(&image), [0, 2, 4]);
}
