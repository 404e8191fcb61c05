//! Invalid calls, each of which fails and changes nothing: contents and identifiers of other trees
//! and formatters, numbers at the ends of their ranges.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::ops::Range;

use ext4::{
    BlockSize, Device, Directory, FileData, Fit, FormatError, Formatter, InodeId, Inodes, Journal, Kind, Label,
    Metadata, Options, Reader, Size, Timestamp, Tree, TreeError, Xattrs,
};
use proptest::collection::vec;
use proptest::prelude::*;

use support::model::Build;
use support::null_output::NullOutput;
use support::samples::{fit_options, put_every_kind, put_indexed_directory};

fn options() -> Options {
    Options {
        size: Size::Fixed(16 << 20),
        ..Options::new([7; 16])
    }
}

fn formatter() -> Formatter<Vec<u8>> {
    Formatter::new(Vec::new(), options()).unwrap()
}

fn insert(tree: &mut Tree, directory: InodeId, name: &str, kind: Kind) -> Result<InodeId, TreeError> {
    tree.insert(directory, name.as_bytes(), Metadata::default(), kind)
}

/// Returns the path in the error for content of another formatter.
fn foreign_data_path<T>(result: Result<T, FormatError>) -> Option<String> {
    match result {
        Err(FormatError::ForeignData { path }) => path,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was accepted"),
    }
}

/// Writes the content of a file.
type WriteContent = fn(&mut Formatter<Vec<u8>>) -> FileData;

#[test]
fn content_of_another_formatter_is_an_error_in_finish() {
    let content = b"content";
    let contents: [WriteContent; 3] = [
        |formatter| formatter.write_data(&b"content"[..], 7).unwrap(),
        // Has no blocks, but a length that may be too large for this block size.
        |formatter| formatter.write_sparse(io::empty(), 1 << 40, &[]).unwrap(),
        |_| {
            let options = Options {
                inline_data: true,
                ..options()
            };
            let mut formatter = Formatter::new(Vec::new(), options).unwrap();
            formatter.write_data(&b"in the inode"[..], 12).unwrap()
        },
    ];
    for write in contents {
        let (mut formatter, mut other) = (formatter(), formatter());
        let mut tree = Tree::default();
        let own = formatter.write_data(&content[..], 7).unwrap();
        insert(&mut tree, InodeId::ROOT, "own", Kind::File(own)).unwrap();
        let directory = insert(&mut tree, InodeId::ROOT, "etc", Kind::Directory(Directory::new())).unwrap();
        insert(&mut tree, directory, "foreign", Kind::File(write(&mut other))).unwrap();
        assert_eq!(
            foreign_data_path(formatter.finish(tree)).as_deref(),
            Some("/etc/foreign")
        );
    }
}

#[test]
fn a_tree_of_another_formatter_is_an_error_in_finish() {
    let (mut one, other) = (formatter(), formatter());
    let mut tree = Tree::default();
    let data = one.write_data(&b"content"[..], 7).unwrap();
    insert(&mut tree, InodeId::ROOT, "file", Kind::File(data)).unwrap();
    assert_eq!(foreign_data_path(other.finish(tree)).as_deref(), Some("/file"));
}

#[test]
fn content_of_another_formatter_is_neither_read_nor_freed() {
    let (mut one, mut other) = (formatter(), formatter());
    let data = one.write_data(&b"content"[..], 7).unwrap();
    assert_eq!(foreign_data_path(other.read_data(&data)), None);
    other.free(data);
    assert_eq!(foreign_data_path(other.finish(Tree::default())), None);
    one.finish(Tree::default()).unwrap();
}

#[test]
fn removed_content_can_go_into_any_tree_of_its_formatter() {
    let mut formatter = formatter();
    let (mut first, mut second) = (Tree::default(), Tree::default());
    let data = formatter.write_data(&b"content"[..], 7).unwrap();
    insert(&mut first, InodeId::ROOT, "file", Kind::File(data)).unwrap();
    let removed = first.remove(InodeId::ROOT, b"file").unwrap().pop().unwrap();
    insert(&mut second, InodeId::ROOT, "moved", Kind::File(removed)).unwrap();
    // The default content is that of an empty file.
    insert(&mut second, InodeId::ROOT, "empty", Kind::File(FileData::default())).unwrap();
    formatter.free(FileData::default());
    let (image, _) = formatter.finish(second).unwrap();
    support::check::check(&image);
}

#[test]
fn earlier_trees_and_formatters_do_not_change_the_image() {
    let make = || {
        let mut formatter = formatter();
        let mut tree = Tree::default();
        let directory = insert(&mut tree, InodeId::ROOT, "d", Kind::Directory(Directory::new())).unwrap();
        let data = formatter.write_data(&b"content"[..], 7).unwrap();
        insert(&mut tree, directory, "file", Kind::File(data)).unwrap();
        formatter.finish(tree).unwrap().0
    };
    let first = make();
    for _ in 0..300 {
        drop((Tree::default(), formatter()));
    }
    assert!(make() == first);
}

#[test]
fn an_inode_of_another_image_causes_no_panic_in_a_reader() {
    let image = |put: fn(&mut Build<Vec<u8>>), change: fn(&mut Options)| {
        let mut options = fit_options();
        change(&mut options);
        let mut build = Build::new(Vec::new(), options).unwrap();
        put(&mut build);
        build.finish().unwrap().0
    };
    let images = [
        image(put_every_kind, |_| {}),
        image(put_every_kind, |options| options.inline_data = true),
        image(put_indexed_directory, |options| options.block_size = BlockSize::Kib1),
        image(|_| {}, |options| options.size = Size::Fixed(5 << 20)),
    ];
    let mut buffer = [0; 64];
    for (from, to) in images.iter().flat_map(|from| images.iter().map(move |to| (from, to))) {
        let source = Reader::open(io::Cursor::new(from)).unwrap();
        let reader = Reader::open(io::Cursor::new(to)).unwrap();
        let mut pending = vec![source.root().unwrap()];
        while let Some(inode) = pending.pop() {
            for entry in source.read_dir(&inode).unwrap_or_default() {
                pending.push(source.inode(entry.ino).unwrap());
                drop(reader.inode(entry.ino));
                drop(reader.inode_in_use(entry.ino));
            }
            drop(reader.read_dir(&inode));
            drop(reader.read_link(&inode));
            drop(reader.xattrs(&inode));
            drop(reader.blocks(&inode));
            drop(reader.open_inode(&inode).map(|file| file.read_at(&mut buffer, 5)));
            let ranges = source.data(&inode).unwrap_or_default().into_iter();
            for range in ranges.chain(reader.data(&inode).unwrap_or_default()) {
                let len = buffer.len().min(usize::try_from(range.len).unwrap());
                drop(reader.read_data(&range, 0, &mut buffer[..len]));
            }
        }
    }
}

/// A call of a tree. Numbers select among the inodes of both trees.
#[derive(Clone, Debug)]
enum Call {
    Insert(usize, u8, bool),
    Link(usize, u8, usize),
    Remove(usize, u8),
}

fn call() -> impl Strategy<Value = Call> {
    let id = || 0..40_usize;
    let name = || 0..6_u8;
    prop_oneof![
        4 => (id(), name(), any::<bool>()).prop_map(|(directory, name, is_directory)| Call::Insert(directory, name, is_directory)),
        2 => (id(), name(), id()).prop_map(|(directory, name, target)| Call::Link(directory, name, target)),
        2 => (id(), name()).prop_map(|(directory, name)| Call::Remove(directory, name)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_inode_that_is_not_in_the_tree_is_an_error(calls in vec((any::<bool>(), call()), 0..60)) {
        let mut trees = [Tree::default(), Tree::default()];
        let mut ids = vec![InodeId::ROOT];
        for (which, call) in calls {
            let tree = &mut trees[usize::from(which)];
            let id = |number: usize| ids[number % ids.len()];
            let (result, used) = match call {
                Call::Insert(directory, name, is_directory) => {
                    let kind = if is_directory { Kind::Directory(Directory::new()) } else { Kind::Fifo };
                    let directory = id(directory);
                    let known = tree.contains(directory);
                    assert_eq!(tree.get(directory).is_some(), known);
                    assert!(known || tree.lookup(directory, &[name + 1]).is_none());
                    let result = tree.insert(directory, &[name + 1], Metadata::default(), kind);
                    if let Ok(id) = result {
                        assert_eq!(tree.lookup(directory, &[name + 1]), Some(id));
                        ids.push(id);
                    }
                    (result.map(drop), vec![(directory, known)])
                }
                Call::Link(directory, name, target) => {
                    let used = [id(target), id(directory)].map(|id| (id, tree.contains(id)));
                    (tree.link(id(directory), &[name + 1], id(target)), used.to_vec())
                }
                Call::Remove(directory, name) => {
                    let directory = id(directory);
                    let known = tree.contains(directory);
                    (tree.remove(directory, &[name + 1]).map(drop), vec![(directory, known)])
                }
            };
            let missing = used.iter().find(|(_, known)| !known);
            match (&result, missing) {
                (Err(TreeError::NoSuchInode { id }), Some((missing, _))) => assert_eq!(id, missing),
                (Err(TreeError::NoSuchInode { .. }), None) => panic!("{used:?} are there"),
                // `link` checks the target first, so a missing directory is not noticed here.
                (Err(TreeError::LinkToDirectory), _) | (_, None) => {}
                (_, Some(missing)) => panic!("{missing:?} is in another tree or none: {result:?}"),
            }
        }
        for tree in trees {
            let (image, _) = formatter().finish(tree).unwrap();
            support::check::check(&image);
        }
    }
}

fn number() -> impl Strategy<Value = u64> {
    let edge = (0..64_u32, -2..=2_i64).prop_map(|(bit, more)| (1_u64 << bit).wrapping_add_signed(more));
    prop_oneof![edge, any::<u64>(), 0..100_000_u64]
}

fn small() -> impl Strategy<Value = u32> {
    number().prop_map(|number| u32::try_from(number & 0xFFFF_FFFF).unwrap())
}

fn any_options() -> impl Strategy<Value = Options> {
    let block_size = prop::sample::select(vec![
        BlockSize::Kib1,
        BlockSize::Kib2,
        BlockSize::Kib4,
        BlockSize::Kib64,
    ]);
    let fit = (number(), small(), number(), number()).prop_map(|(free, free_percent, min, max)| {
        Size::Fit(Fit {
            free,
            free_percent,
            min,
            max,
        })
    });
    let size = prop_oneof![number().prop_map(Size::Fixed), fit];
    let inodes = prop_oneof![small().prop_map(Inodes::PerBytes), small().prop_map(Inodes::AtLeast)];
    let journal = prop_oneof![
        Just(Journal::Auto),
        Just(Journal::None),
        number().prop_map(Journal::Bytes)
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (block_size, size, inodes, journal, flags, any::<u8>(), small()).prop_map(
        |(block_size, size, inodes, journal, (growth, large_xattrs, inline_data), reserved_percent, created)| Options {
            block_size,
            // Sizes above 32 GiB in 1 KiB blocks have tables that take much time and memory.
            size: bounded(size, u64::from(block_size.bytes()) << 25),
            inodes,
            journal,
            growth,
            large_xattrs,
            inline_data,
            reserved_percent,
            created,
            ..Options::new([7; 16])
        },
    )
}

/// Reduces sizes below 2^58 modulo a limit. Larger ones exceed every file system, and stay.
fn bounded(size: Size, limit: u64) -> Size {
    let bound = |bytes: u64| if bytes < 1 << 58 { bytes % limit } else { bytes };
    match size {
        Size::Fixed(bytes) => Size::Fixed(bound(bytes)),
        Size::Fit(fit) => Size::Fit(Fit {
            free: bound(fit.free),
            free_percent: fit.free_percent % 1000,
            min: bound(fit.min),
            max: fit.max % limit,
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_options_and_no_content_cause_a_panic(
        options in any_options(),
        lengths in vec((number(), vec((number(), number()), 0..4)), 0..6),
        content in vec(any::<u8>(), 0..200),
    ) {
        let Ok(mut formatter) = Formatter::new(NullOutput, options) else {
            return Ok(());
        };
        let mut tree = Tree::default();
        for (number, (len, ranges)) in lengths.into_iter().enumerate() {
            let ranges: Vec<Range<u64>> = ranges.into_iter().map(|(start, end)| start..end).collect();
            for data in [
                formatter.write_sparse(&content[..], len, &ranges),
                formatter.write_sparse(&content[..], len, &[]),
                formatter.write_data(&content[..], len),
                formatter.write_data(&content[..], content.len() as u64),
            ] {
                match data {
                    Ok(data) if len % 3 == 0 => formatter.free(data),
                    Ok(data) => {
                        let name = format!("{number} {}", data.len());
                        drop(insert(&mut tree, InodeId::ROOT, &name, Kind::File(data)));
                    }
                    Err(_) => {}
                }
            }
        }
        drop(formatter.finish(tree));
    }

    #[test]
    fn no_metadata_causes_a_panic(
        numbers in vec(number(), 16),
        bytes in vec(any::<u8>(), 0..400),
        text in ".{0,20}",
        inline_data in any::<bool>(),
    ) {
        let small = |index: usize| u32::try_from(numbers[index] & 0xFFFF_FFFF).unwrap();
        drop(Label::new(&text));
        let time = |index: usize| Timestamp::saturating(numbers[index].cast_signed(), small(index + 1));
        let mut xattrs = Xattrs::default();
        for prefix in ["", "user.", "security.", "system.posix_acl_access", "system.posix_acl_default", "other."] {
            drop(xattrs.set(&[prefix.as_bytes(), &bytes[..bytes.len() / 2]].concat(), &bytes));
            drop(xattrs.set(prefix.as_bytes(), &bytes.repeat(usize::try_from(numbers[0] % 500).unwrap())));
        }
        let metadata = Metadata {
            mode: u16::try_from(numbers[1] & 0xFFFF).unwrap(),
            uid: small(2),
            gid: small(3),
            accessed: time(4),
            modified: time(6),
            changed: time(8),
            xattrs,
        };
        let device = Device { major: small(10), minor: small(11) };
        let kinds = [
            Kind::Directory(Directory::new()),
            Kind::File(FileData::default()),
            Kind::Symlink(bytes.clone().into()),
            Kind::CharDevice(device),
            Kind::BlockDevice(device),
            Kind::Fifo,
            Kind::Socket,
        ];
        let options = Options { inline_data, ..options() };
        for kind in kinds {
            let formatter = Formatter::new(Vec::new(), options.clone()).unwrap();
            let mut tree = Tree::default();
            drop(formatter.check_xattrs(&metadata.xattrs, String::new));
            drop(formatter.check_target(&bytes, String::new));
            drop(tree.insert(InodeId::ROOT, &bytes, metadata.clone(), kind));
            drop(formatter.finish(tree));
        }
    }
}
