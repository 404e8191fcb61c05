//! Random trees, made by random sequences of operations, read back by readers that share no code with the crate.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use ext4::{
    BlockSize, Device, Directory, Fit, FormatError, InodeId, Inodes, Journal, Kind, MAX_NAME_LEN, MAX_TARGET_LEN,
    Metadata, Options, Size, Timestamp, TreeError, Xattrs,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use support::check;
use support::content::Content;
use support::model::{Build, Model, Node};
use support::reader::Reader;

/// One step on the way to a tree. An [`Index`] chooses among the paths that there are.
#[derive(Clone, Debug)]
enum Operation {
    /// Puts something below a directory, in the place of what has the name already.
    Put(Index, Vec<u8>, Metadata, Node),
    /// Gives an inode that is no directory one more name.
    Link(Index, Index, Vec<u8>),
    Remove(Index),
    /// Writes content that never becomes a file, and gives it back or forgets it.
    Discard(Content, bool),
    /// Writes content that ends before it should.
    BreakOff(Content),
    /// Tries what no tree takes.
    Misuse(Index, Index),
}

/// A step with values of extended attributes up to a length.
fn operation(most: usize) -> impl Strategy<Value = Operation> {
    prop_oneof![
        12 => (any::<Index>(), name(), metadata(most), node()).prop_map(|(at, name, metadata, node)| Operation::Put(at, name, metadata, node)),
        3 => (any::<Index>(), any::<Index>(), name()).prop_map(|(inode, at, name)| Operation::Link(inode, at, name)),
        3 => any::<Index>().prop_map(Operation::Remove),
        1 => (content(), any::<bool>()).prop_map(|(content, is_forgotten)| Operation::Discard(content, is_forgotten)),
        1 => content().prop_map(Operation::BreakOff),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(first, second)| Operation::Misuse(first, second)),
    ]
}

/// Few short names, so that they meet; some long ones, so that directories need more than one block.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("a byte of a name", |&byte| byte != 0 && byte != b'/');
    prop_oneof![
        4 => "[a-e]".prop_map(String::into_bytes),
        2 => "[a-z]{1,8}".prop_map(String::into_bytes),
        2 => vec(byte, 1..=MAX_NAME_LEN),
    ]
    .prop_filter("names that every directory has", |name| {
        !matches!(&name[..], b"." | b"..")
    })
}

fn metadata(most: usize) -> impl Strategy<Value = Metadata> {
    // ext4-view 1.0 reads only seconds whose low half is not negative; the oracles see to the others.
    let time = || {
        (0_i64..4, 0_i64..1 << 31, 0_u32..1_000_000_000)
            .prop_map(|(high, low, nanoseconds)| Timestamp::saturating((high << 32) + low, nanoseconds))
    };
    let id = || prop_oneof![Just(0), Just(u32::MAX), any::<u32>()];
    (0_u16..0o10000, id(), id(), time(), time(), time(), xattrs(most)).prop_map(
        |(mode, uid, gid, accessed, modified, changed, xattrs)| Metadata {
            mode,
            uid,
            gid,
            accessed,
            modified,
            changed,
            xattrs,
        },
    )
}

fn xattrs(most: usize) -> impl Strategy<Value = Xattrs> {
    let namespace = prop::sample::select(vec!["user.", "trusted.", "security.", "system.", ""]);
    let name = (namespace, "[a-z]{1,12}").prop_map(|(namespace, name)| namespace.to_owned() + &name);
    let value = prop_oneof![3 => vec(any::<u8>(), 0..60), 1 => vec(1..u8::MAX, 0..=most)];
    let some = vec((name, value), 1..6).prop_map(|attributes| {
        let mut xattrs = Xattrs::default();
        for (name, value) in attributes {
            xattrs.set(name.as_bytes(), &value).unwrap();
        }
        xattrs
    });
    prop_oneof![3 => Just(Xattrs::default()), 1 => some]
}

fn node() -> impl Strategy<Value = Node> {
    let device = || (0_u32..1 << 12, 0_u32..1 << 20);
    prop_oneof![
        4 => Just(Node::Directory),
        6 => content().prop_map(Node::File),
        2 => vec(1_u8..=255, 1..200).prop_map(Node::Symlink),
        1 => device().prop_map(|(major, minor)| Node::CharDevice(major, minor)),
        1 => device().prop_map(|(major, minor)| Node::BlockDevice(major, minor)),
        1 => Just(Node::Fifo),
        1 => Just(Node::Socket),
    ]
}

fn content() -> impl Strategy<Value = Content> {
    let len = prop_oneof![Just(0), 1_u64..200, 200_u64..40_000];
    let dense = (any::<u64>(), len).prop_map(|(seed, len)| Content::dense(seed, len));
    let gaps = vec((0_u64..30_000, 0_u64..9_000), 0..12);
    let sparse = (any::<u64>(), gaps, 0_u64..50_000).prop_map(|(seed, gaps, rest)| {
        let mut end = 0;
        let mut ranges = Vec::new();
        for (gap, len) in gaps {
            ranges.push(end + gap..end + gap + len);
            end += gap + len;
        }
        Content::sparse(seed, end + rest, ranges)
    });
    prop_oneof![3 => dense, 1 => sparse]
}

fn options() -> impl Strategy<Value = Options> {
    let block_size = prop::sample::select(vec![BlockSize::Kib1, BlockSize::Kib2, BlockSize::Kib4]);
    let journal = prop_oneof![Just(Journal::None), Just(Journal::Bytes(1 << 20))];
    let inodes = prop_oneof![Just(Inodes::AtLeast(16)), Just(Inodes::PerBytes(16 * 1024))];
    (block_size, journal, inodes, any::<bool>(), any::<[u8; 16]>(), 0_u64..4).prop_map(
        |(block_size, journal, inodes, growth, uuid, free)| Options {
            block_size,
            journal,
            inodes,
            growth,
            size: Size::Fit(Fit {
                free: free << 20,
                free_percent: 0,
                min: 1 << 20,
                max: 1 << 30,
            }),
            ..Options::new(uuid)
        },
    )
}

/// Applies a step if the tree, as the model has it, can take it.
fn apply(build: &mut Build<Vec<u8>>, operation: Operation) {
    match operation {
        Operation::Put(at, name, metadata, node) => {
            let path = below(&build.model, at, &name);
            if build.model.paths.contains_key(&path) {
                build.remove(&path);
            }
            build.put(&path, metadata, node).unwrap();
        }
        Operation::Link(inode, at, name) => {
            let existing = chosen(&build.model, inode);
            let path = below(&build.model, at, &name);
            let is_directory = matches!(build.model.node_at(&existing), Node::Directory);
            if !is_directory && !build.model.paths.contains_key(&path) {
                build.link(&path, &existing);
            }
        }
        Operation::Remove(index) => {
            let path = chosen(&build.model, index);
            if !path.is_empty() {
                build.remove(&path);
            }
        }
        Operation::Discard(content, is_forgotten) => {
            let data = build
                .formatter
                .write_sparse(content.reader(), content.len, &content.ranges)
                .unwrap();
            if !is_forgotten {
                build.formatter.free(data);
            }
        }
        Operation::BreakOff(content) => {
            let error = build
                .formatter
                .write_data(&content.bytes()[..], content.len + 1)
                .unwrap_err();
            assert!(matches!(error, FormatError::ContentTooShort { actual, .. } if actual == content.len));
        }
        Operation::Misuse(first, second) => misuse(build, first, second),
    }
}

/// A path that there is.
fn chosen(model: &Model, index: Index) -> Vec<u8> {
    let nth = index.index(model.paths.len());
    model.paths.keys().nth(nth).unwrap().clone()
}

/// The path of a name in a directory that there is.
fn below(model: &Model, index: Index, name: &[u8]) -> Vec<u8> {
    let directories: Vec<_> = model
        .paths
        .keys()
        .filter(|path| matches!(model.node_at(path), Node::Directory))
        .collect();
    let directory = directories[index.index(directories.len())];
    let separator = if directory.is_empty() { "" } else { "/" };
    [directory, separator.as_bytes(), name].concat()
}

/// What a tree must refuse, and refuses without a change.
fn misuse(build: &mut Build<Vec<u8>>, first: Index, second: Index) {
    let (first, second) = (chosen(&build.model, first), chosen(&build.model, second));
    let (at, other) = (build.id_of(&first), build.id_of(&second));
    let is_directory = matches!(build.model.node_at(&first), Node::Directory);
    let mut insert =
        |at: InodeId, name: &[u8], kind: Kind| build.tree.insert(at, name, Metadata::default(), kind).unwrap_err();
    let invalid: [&[u8]; 6] = [b"", b".", b"..", b"a/b", b"a\0b", &[b'x'; MAX_NAME_LEN + 1]];
    for name in invalid {
        assert_eq!(
            insert(at, name, Kind::Fifo),
            TreeError::InvalidName { name: name.to_vec() }
        );
    }
    for target in [vec![], vec![b't'; MAX_TARGET_LEN + 1], b"a\0b".to_vec()] {
        let len = target.len();
        assert_eq!(
            insert(at, b"new name", Kind::Symlink(target.into())),
            TreeError::InvalidTarget { len }
        );
    }
    for (major, minor) in [(1 << 12, 0), (0, 1 << 20)] {
        let error = insert(at, b"new name", Kind::CharDevice(Device { major, minor }));
        assert_eq!(error, TreeError::InvalidDevice { major, minor });
    }
    if is_directory {
        assert_eq!(
            build.tree.link(at, b"new name", InodeId::ROOT),
            Err(TreeError::LinkToDirectory)
        );
        assert_eq!(build.tree.remove(at, b"new name").unwrap_err(), TreeError::NotFound);
        if let Some(name) = build
            .tree
            .inode(at)
            .directory()
            .and_then(|directory| Some(directory.entries().next()?.0.to_vec()))
        {
            let error = build
                .tree
                .insert(at, &name, Metadata::default(), Kind::Directory(Directory::new()));
            assert_eq!(error.unwrap_err(), TreeError::AlreadyExists);
        }
    } else {
        assert_eq!(insert(at, b"new name", Kind::Fifo), TreeError::NotADirectory);
        assert_eq!(
            build.tree.remove(at, b"new name").unwrap_err(),
            TreeError::NotADirectory
        );
    }
    assert_eq!(build.tree.lookup(at, b"new name"), None);
    assert!(build.tree.contains(other));
}

/// Asserts that the crate's image and the model's tree are one, for a reader of the disk's structures.
fn assert_read_back(image: &[u8], model: &Model) {
    check::check(image);
    let reader = Reader::new(image);
    let expected = model.entries();
    let found = reader.paths();
    assert!(
        found.keys().map(|path| &path[..]).eq(expected.keys().copied()),
        "names: {:?}",
        found.keys()
    );
    let mut inodes = BTreeMap::new();
    for (path, (id, entry)) in expected {
        let ino = found[path];
        assert_eq!(reader.entry(ino), entry, "{}", path.escape_ascii());
        assert_eq!(
            *inodes.entry(id).or_insert(ino),
            ino,
            "{} is one inode with its links",
            path.escape_ascii()
        );
        if let Node::File(content) = model.node(id) {
            assert!(reader.content(ino) == content.bytes(), "{}", path.escape_ascii());
        }
    }
}

/// Asserts the same for ext4-view, which finds every name by its index and verifies checksums on the way.
fn assert_viewed(image: &[u8], model: &Model) {
    let view = ext4_view::Ext4::load(Box::new(image.to_vec())).unwrap();
    for (path, (id, entry)) in model.entries() {
        let absolute = [b"/", path].concat();
        let path = ext4_view::Path::try_from(&absolute[..]).unwrap();
        let metadata = view.symlink_metadata(path).unwrap();
        let time = |time: ext4_view::Timestamp| (time.seconds(), time.nanoseconds());
        assert_eq!(u32::from(metadata.mode()), entry.mode & 0o7777);
        assert_eq!((metadata.uid(), metadata.gid()), (entry.uid, entry.gid));
        assert_eq!(time(metadata.accessed()), entry.accessed);
        assert_eq!(time(metadata.modified()), entry.modified);
        match model.node(id) {
            Node::Directory => {
                let listed = view.read_dir(path).unwrap().count();
                let entries = model
                    .paths
                    .keys()
                    .filter(|other| is_child(other, &absolute[1..]))
                    .count();
                // `.` and `..` are listed too.
                assert_eq!(listed, entries + 2);
            }
            Node::File(content) => assert!(view.read(path).unwrap() == content.bytes(), "{}", path.display()),
            Node::Symlink(target) => {
                assert!(metadata.is_symlink());
                assert_eq!(view.read_link(path).unwrap().as_path().as_ref(), &target[..]);
            }
            Node::CharDevice(..) => assert!(metadata.file_type().is_char_dev()),
            Node::BlockDevice(..) => assert!(metadata.file_type().is_block_dev()),
            Node::Fifo => assert!(metadata.file_type().is_fifo()),
            Node::Socket => assert!(metadata.file_type().is_socket()),
        }
    }
}

fn is_child(path: &[u8], directory: &[u8]) -> bool {
    !path.is_empty() && support::model::parent(path).0 == directory
}

/// Builds the tree that the operations lead to.
fn build(options: Options, operations: &[Operation]) -> (Vec<u8>, Model) {
    let mut build = Build::new(Vec::new(), options).unwrap();
    for operation in operations {
        apply(&mut build, operation.clone());
    }
    let (image, _, model) = build.finish().unwrap();
    (image, model)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_image_reads_back_as_the_tree_that_was_made(options in options(), operations in vec(operation(120), 0..80)) {
        let (image, model) = build(Options { large_xattrs: false, ..options }, &operations);
        assert_read_back(&image, &model);
        assert_viewed(&image, &model);
    }

    #[test]
    fn features_that_ext4_view_does_not_know_read_back_too(options in options(), operations in vec(operation(5000), 0..80)) {
        let (image, model) = build(Options { inline_data: true, large_xattrs: true, ..options }, &operations);
        assert_read_back(&image, &model);
    }

    #[test]
    fn the_same_operations_make_the_same_bytes(options in options(), operations in vec(operation(5000), 0..40)) {
        let (first, _) = build(options.clone(), &operations);
        let (second, _) = build(options, &operations);
        assert!(first == second);
    }
}
