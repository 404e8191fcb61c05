//! The [`Reader`] on images of the formatter, and on damaged ones.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use ext4::read::{DirEntry, Inode};
use ext4::{
    BlockSize, Device, Directory, FileType, Formatter, InodeId, Journal, Kind, Metadata, Options, ReadError, Reader,
    Size, Structure, Timestamp, Tree,
};

fn metadata(mode: u16) -> Metadata {
    let mut metadata = Metadata {
        mode,
        uid: 70_000,
        gid: 80_000,
        accessed: Timestamp::saturating(5_000_000_000, 999_999_999),
        modified: Timestamp::saturating(-5, 7),
        changed: Timestamp::saturating(1 << 31, 1),
        ..Metadata::default()
    };
    metadata.xattrs.set(b"user.note", b"near").expect("a good name");
    metadata
}

/// Makes an image with one file of each kind.
fn sample() -> Vec<u8> {
    let options = Options {
        size: Size::Fixed(16 << 20),
        journal: Journal::None,
        ..Options::new([7; 16])
    };
    let mut formatter = Formatter::new(Vec::new(), options).expect("16 MiB are a file system");
    let mut tree = Tree::new(metadata(0o755));
    let mut add = |name: &str, metadata, kind| {
        tree.insert(InodeId::ROOT, name.as_bytes(), metadata, kind)
            .expect("a new name")
    };
    let data = formatter
        .write_sparse(&b"headtail"[..], 1 << 20, &[0..4, (1 << 20) - 4..1 << 20])
        .expect("there is room");
    let mut rich = metadata(0o4755);
    rich.xattrs.set(b"user.large", &[b'x'; 9000]).expect("a good name");
    rich.xattrs
        .set(b"security.capability", b"\x01\0\0\x02binary\n")
        .expect("a good name");
    let acl = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x05\0\0\0\x04\0\x04\0\xff\xff\xff\xff\
        \x10\0\x06\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";
    rich.xattrs.set(b"system.posix_acl_access", acl).expect("a good name");
    let file = add("file", rich, Kind::File(data));
    add("fast", metadata(0o777), Kind::Symlink(b"../target"[..].into()));
    add("slow", metadata(0o777), Kind::Symlink(vec![b'/'; 60].into()));
    let small = Device { major: 1, minor: 3 };
    let large = Device {
        major: 4095,
        minor: 0xF_FFFF,
    };
    add("char", metadata(0o600), Kind::CharDevice(small));
    add("block", metadata(0o600), Kind::BlockDevice(large));
    add("fifo", metadata(0o600), Kind::Fifo);
    add("socket", metadata(0o600), Kind::Socket);
    let many = add("many", metadata(0o755), Kind::Directory(Directory::new()));
    for number in 0..600 {
        tree.link(many, format!("a longer name, number {number:03}").as_bytes(), file)
            .expect("a new name");
    }
    formatter.finish(tree).expect("16 MiB hold it").0
}

fn reader(image: &[u8]) -> Reader<Cursor<&[u8]>> {
    Reader::open(Cursor::new(image)).expect("it is an image")
}

fn names(reader: &Reader<Cursor<&[u8]>>, inode: &Inode) -> BTreeMap<String, Inode> {
    let entries = reader.read_dir(inode).expect("it is a good directory");
    let found = |entry: DirEntry| {
        let name = String::from_utf8(entry.name.into()).expect("names are text here");
        (name, reader.inode(entry.ino).expect("the inode is good"))
    };
    entries.into_iter().map(found).collect()
}

#[test]
fn every_kind_of_file_comes_back_as_it_was_written() {
    let image = sample();
    let reader = reader(&image);
    let root = reader.root().expect("there is a root");
    let found = names(&reader, &root);
    let kinds: Vec<_> = found
        .iter()
        .map(|(name, inode)| (name.as_str(), inode.file_type, inode.device))
        .collect();
    let small = Device { major: 1, minor: 3 };
    let large = Device {
        major: 4095,
        minor: 0xF_FFFF,
    };
    assert_eq!(
        kinds,
        [
            ("block", FileType::BlockDevice, Some(large)),
            ("char", FileType::CharacterDevice, Some(small)),
            ("fast", FileType::Symlink, None),
            ("fifo", FileType::Fifo, None),
            ("file", FileType::RegularFile, None),
            ("lost+found", FileType::Directory, None),
            ("many", FileType::Directory, None),
            ("slow", FileType::Symlink, None),
            ("socket", FileType::Socket, None),
        ]
    );
    assert_eq!(reader.read_link(&found["fast"]).expect("a target"), b"../target");
    assert_eq!(reader.read_link(&found["slow"]).expect("a target"), [b'/'; 60]);

    let file = &found["file"];
    let Metadata {
        accessed,
        modified,
        changed,
        ..
    } = metadata(0);
    assert_eq!(
        (file.mode, file.uid, file.gid, file.size),
        (0o4755, 70_000, 80_000, 1 << 20)
    );
    assert_eq!(
        (file.accessed, file.modified, file.changed),
        (accessed, modified, changed)
    );
    assert_eq!(file.links, 601);
    let many = names(&reader, &found["many"]);
    assert_eq!(many.len(), 600);
    assert!(many.values().all(|inode| inode.ino == file.ino));
}

#[test]
fn attributes_are_read_from_inode_block_and_value_inode() {
    let image = sample();
    let reader = reader(&image);
    let root = reader.root().expect("there is a root");
    let file = &names(&reader, &root)["file"];
    let xattrs = reader.xattrs(file).expect("good attributes");
    let sizes: Vec<_> = xattrs
        .iter()
        .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.len()))
        .collect();
    let expected = [
        ("security.capability", 11),
        ("system.posix_acl_access", 44),
        ("user.large", 9000),
        ("user.note", 4),
    ];
    assert_eq!(sizes, expected.map(|(name, len)| (name.to_owned(), len)));
    assert_eq!(xattrs.get(b"user.large"), Some(&[b'x'; 9000][..]));
    let acl = xattrs.get(b"system.posix_acl_access").expect("it is there");
    assert_eq!(
        acl[..20],
        *b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x05\0\0\0"
    );
}

#[test]
fn holes_are_not_data() {
    let image = sample();
    let reader = reader(&image);
    let root = reader.root().expect("there is a root");
    let file = &names(&reader, &root)["file"];
    let ranges = reader.data(file).expect("good extents");
    let offsets: Vec<_> = ranges.iter().map(|range| (range.start, range.len)).collect();
    assert_eq!(offsets, [(0, 4096), ((1 << 20) - 4096, 4096)]);
    let mut end = [0; 4];
    reader.read_data(&ranges[1], 4092, &mut end).expect("it is there");
    assert_eq!(end, *b"tail");
}

#[test]
fn inline_files_and_directories_are_read() {
    let image = inline_sample();
    let reader = reader(&image);
    let root = reader.root().expect("there is a root");
    let found = names(&reader, &root);
    for (name, len) in [("empty", 0), ("short", 60), ("long", 128)] {
        let mut content = vec![0; len];
        for range in reader.data(&found[name]).expect("good content") {
            let start = usize::try_from(range.start).expect("it is small");
            let end = start + usize::try_from(range.len).expect("it is small");
            reader
                .read_data(&range, 0, &mut content[start..end])
                .expect("it is there");
        }
        assert_eq!(content, vec![b'x'; len], "{name}");
        assert!(
            reader.xattrs(&found[name]).expect("good attributes").is_empty(),
            "{name}"
        );
    }
    let entries = names(&reader, &found["directory"]);
    let expected: Vec<_> = (0..4).map(|number| format!("a name, number {number}")).collect();
    assert_eq!(entries.keys().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    assert!(names(&reader, &found["nothing"]).is_empty());
}

/// Makes an image whose files and directories are inline.
fn inline_sample() -> Vec<u8> {
    let options = Options {
        size: Size::Fixed(16 << 20),
        journal: Journal::None,
        inline_data: true,
        ..Options::new([7; 16])
    };
    let mut formatter = Formatter::new(Vec::new(), options).expect("16 MiB are a file system");
    let mut tree = Tree::default();
    for (name, len) in [("empty", 0), ("short", 60), ("long", 128)] {
        let data = formatter.write_data(&[b'x'; 128][..], len).expect("there is room");
        tree.insert(InodeId::ROOT, name.as_bytes(), Metadata::default(), Kind::File(data))
            .expect("a new name");
    }
    for name in ["directory", "nothing"] {
        let kind = Kind::Directory(Directory::new());
        let directory = tree
            .insert(InodeId::ROOT, name.as_bytes(), Metadata::default(), kind)
            .expect("a new name");
        for number in 0..if name == "nothing" { 0 } else { 4 } {
            let name = format!("a name, number {number}");
            tree.insert(directory, name.as_bytes(), Metadata::default(), Kind::Fifo)
                .expect("a new name");
        }
    }
    formatter.finish(tree).expect("16 MiB hold it").0
}

#[test]
fn info_is_that_of_the_superblock() {
    let image = sample();
    let info = reader(&image).info();
    assert_eq!((info.uuid, info.block_size, info.block_count), ([7; 16], 4096, 4096));
    assert!(info.free_block_count < 4096 && info.free_inode_count < info.inode_count);
    assert_eq!(info.label, b"");
    assert!(!info.needs_recovery);
    let features = "ext_attr resize_inode dir_index filetype extent 64bit flex_bg ea_inode sparse_super large_file \
        huge_file dir_nlink extra_isize metadata_csum";
    assert_eq!(info.features.join(" "), features);
}

#[test]
fn bytes_without_a_file_system_are_an_error() {
    for bytes in [&b""[..], &[0; 1024], &[0; 4096], &[0xFF; 4096]] {
        let result = Reader::open(Cursor::new(bytes)).expect_err("it is none");
        assert!(matches!(result, ReadError::NotExt4), "{result}");
    }
}

/// Reads everything, and returns the number of inodes.
fn read_all(image: &[u8]) -> Result<usize, ReadError> {
    let reader = Reader::open(Cursor::new(image))?;
    let _ = reader.info();
    let mut pending = vec![reader.root()?];
    let mut count = 0;
    while let Some(inode) = pending.pop().filter(|_| count < 2_000) {
        count += 1;
        reader.xattrs(&inode)?;
        match inode.file_type {
            FileType::Directory => {
                for entry in reader.read_dir(&inode)? {
                    pending.push(reader.inode(entry.ino)?);
                }
            }
            FileType::RegularFile => {
                reader.data(&inode)?;
            }
            FileType::Symlink => {
                reader.read_link(&inode)?;
            }
            _ => {}
        }
    }
    Ok(count)
}

#[test]
fn no_damage_causes_a_panic() {
    let good = inline_sample();
    assert_eq!(read_all(&good).expect("nothing is wrong with it"), 7 + 4);
    assert!(count_detected(&good, 1) > 100);
    let good = sample();
    assert_eq!(read_all(&good).expect("nothing is wrong with it"), 10 + 600);
    assert!(count_detected(&good, 47) > 100);
    for len in [1500, 3000, 5000] {
        read_all(&good[..len]).expect_err("the end is missing");
    }
}

/// Makes an image in which every kind of structure has a checksum.
fn checksummed_image() -> Vec<u8> {
    let options = Options {
        size: Size::Fixed(16 << 20),
        block_size: BlockSize::Kib1,
        journal: Journal::None,
        large_xattrs: true,
        ..Options::new([7; 16])
    };
    let mut formatter = Formatter::new(Vec::new(), options).expect("16 MiB are a file system");
    let mut tree = Tree::default();
    let ranges: Vec<_> = (0..40).map(|number| number * 4096..number * 4096 + 10).collect();
    let data = formatter
        .write_sparse(&[b'x'; 400][..], 1 << 20, &ranges)
        .expect("there is room");
    let mut rich = metadata(0o644);
    rich.xattrs.set(b"user.large", &[b'x'; 3000]).expect("a good name");
    rich.xattrs.set(b"user.medium", &[b'x'; 400]).expect("a good name");
    let file = tree
        .insert(InodeId::ROOT, b"file", rich, Kind::File(data))
        .expect("a new name");
    for number in 0..60 {
        tree.link(
            InodeId::ROOT,
            format!("a longer name, number {number:03}").as_bytes(),
            file,
        )
        .expect("a new name");
    }
    formatter.finish(tree).expect("16 MiB hold it").0
}

#[test]
fn a_wrong_checksum_names_its_structure() {
    let mut image = checksummed_image();
    read_all(&image).expect("nothing is wrong with it");
    let mut found = BTreeSet::new();
    // Skips file contents and empty blocks.
    let blocks = image.chunks(1024).enumerate().skip(1);
    let blocks = blocks.filter(|(_, block)| block.iter().any(|&byte| byte != block[0]));
    let blocks: Vec<_> = blocks.map(|(number, _)| number).collect();
    for block in blocks {
        for at in (block * 1024 + 4..(block + 1) * 1024).step_by(32) {
            image[at] ^= 0x40;
            if let Err(ReadError::Checksum { structure }) = read_all(&image) {
                found.insert(structure);
            }
            image[at] ^= 0x40;
        }
    }
    let has = |is: fn(&Structure) -> bool| found.iter().any(is);
    assert!(has(|structure| *structure == Structure::Superblock), "{found:?}");
    assert!(
        has(|structure| *structure == Structure::GroupDescriptor { group: 0 }),
        "{found:?}"
    );
    assert!(has(|structure| *structure == Structure::Inode { ino: 2 }), "{found:?}");
    assert!(
        has(|structure| matches!(structure, Structure::ExtentNode { .. })),
        "{found:?}"
    );
    assert!(
        has(|structure| matches!(structure, Structure::DirectoryBlock { ino: 2, .. })),
        "{found:?}"
    );
    assert!(
        has(|structure| matches!(structure, Structure::IndexNode { ino: 2, .. })),
        "{found:?}"
    );
    assert!(
        has(|structure| matches!(structure, Structure::XattrBlock { .. })),
        "{found:?}"
    );
}

#[test]
fn a_value_inode_is_verified_by_its_hash() {
    let mut image = checksummed_image();
    let at = image
        .windows(3000)
        .position(|bytes| bytes == [b'x'; 3000])
        .expect("the value");
    image[at + 2999] = b'y';
    let result = read_all(&image);
    assert!(
        matches!(
            result,
            Err(ReadError::Checksum {
                structure: Structure::XattrValue { .. }
            })
        ),
        "{result:?}"
    );
}

/// Damages every `step`th byte that is not zero, and returns how often the reader fails.
fn count_detected(good: &[u8], step: usize) -> usize {
    // Each byte is damaged once, in one of four ways.
    let offsets: Vec<_> = (1024..good.len()).filter(|&at| good[at] != 0).collect();
    let mut damaged = good.to_vec();
    let mut failures = 0;
    for (round, &at) in offsets.iter().enumerate().step_by(step) {
        damaged[at] = [0, 0xFF, good[at] ^ 0x10, good[at].wrapping_add(1)][round % 4];
        failures += usize::from(read_all(&damaged).is_err());
        damaged[at] = good[at];
    }
    failures
}
