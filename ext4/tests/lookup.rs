//! The reader's interface for programs: paths, open files, walks, and use by many threads.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::thread;

use ext4::read::{File, FileType, Follow, LookupError, ReadAt, ReadSeek, Reader};
use ext4::{Directory, Formatter, Ino, InodeId, Journal, Kind, Metadata, Options, Size, Tree};

/// Makes an image with many symlinks, and a file of 13 bytes at `/a/b/file`.
fn image() -> Vec<u8> {
    let options = Options {
        size: Size::Fixed(8 << 20),
        journal: Journal::None,
        ..Options::new([7; 16])
    };
    let mut formatter = Formatter::new(Vec::new(), options).unwrap();
    let mut tree = Tree::default();
    let directory = || Kind::Directory(Directory::new());
    let mut put = |parent, name: &str, kind| tree.insert(parent, name.as_bytes(), Metadata::default(), kind).unwrap();
    let a = put(InodeId::ROOT, "a", directory());
    let b = put(a, "b", directory());
    put(b, "c", directory());
    put(
        b,
        "file",
        Kind::File(formatter.write_data(&b"what it holds"[..], 13).unwrap()),
    );
    put(a, "fifo", Kind::Fifo);
    let large = formatter.write_sparse(&b"headtail"[..], 1 << 20, &[0..4, (1 << 20) - 4..1 << 20]);
    put(a, "large", Kind::File(large.unwrap()));
    for (parent, name, target) in [
        (a, "relative", "b/file"),
        (a, "absolute", "/a/b/file"),
        (a, "directory", "b"),
        (a, "slash", "b/"),
        (a, "up", "../../../a"),
        (a, "self", "self"),
        (a, "dangling", "nothing"),
        (a, "through", "b/file/more"),
        (b, "root", "/"),
    ] {
        put(parent, name, Kind::Symlink(target.as_bytes().into()));
    }
    for number in 0..41 {
        let target = if number == 0 {
            "b/file".to_owned()
        } else {
            format!("link{}", number - 1)
        };
        put(a, &format!("link{number}"), Kind::Symlink(target.into_bytes().into()));
    }
    formatter.finish(tree).unwrap().0
}

/// Describes the result of a lookup: the file type, or the failure and the path where it occurred.
fn describe(result: Result<FileType, LookupError>) -> String {
    let at = |text: &str, path: Vec<u8>| format!("{text} {}", String::from_utf8(path).unwrap());
    match result {
        Ok(file_type) => file_type.to_string(),
        Err(LookupError::NotFound { path }) => at("not found", path),
        Err(LookupError::NotADirectory { path }) => at("not a directory", path),
        Err(LookupError::IsADirectory { path }) => at("a directory", path),
        Err(LookupError::NotAFile { path }) => at("not a file", path),
        Err(LookupError::TooManySymlinks { path }) => at("too many", path),
        Err(error) => error.to_string(),
    }
}

#[test]
fn paths_resolve_as_on_linux() {
    let image = image();
    let reader = Reader::open(&image).unwrap();
    for (path, followed, not_followed) in [
        ("", "directory", "directory"),
        ("/", "directory", "directory"),
        ("..", "directory", "directory"),
        ("/a/b/file", "file", "file"),
        ("a/b/file", "file", "file"),
        ("//a///b//./file", "file", "file"),
        ("/a/b/../b/c/../file", "file", "file"),
        ("/../../a/fifo", "fifo", "fifo"),
        ("/a/b/c/", "directory", "directory"),
        ("/a/b/c/.", "directory", "directory"),
        ("/a/b/file/", "not a directory /a/b/file", "not a directory /a/b/file"),
        ("/a/b/file/.", "not a directory /a/b/file", "not a directory /a/b/file"),
        ("/a/b/file/..", "not a directory /a/b/file", "not a directory /a/b/file"),
        ("/a/nothing/file", "not found /a/nothing", "not found /a/nothing"),
        ("/a/b/nothing/", "not found /a/b/nothing", "not found /a/b/nothing"),
        ("/a/relative", "file", "symlink"),
        ("/a/absolute", "file", "symlink"),
        ("/a/relative/", "not a directory /a/b/file", "not a directory /a/b/file"),
        ("/a/directory", "directory", "symlink"),
        ("/a/directory/", "directory", "directory"),
        ("/a/directory/file", "file", "file"),
        ("/a/directory/../fifo", "fifo", "fifo"),
        ("/a/slash", "directory", "symlink"),
        ("/a/slash/file", "file", "file"),
        ("/a/up/b/root/a/up/fifo", "fifo", "fifo"),
        ("/a/b/root/..", "directory", "directory"),
        ("/a/self", "too many /a/self", "symlink"),
        ("/a/dangling", "not found /a/nothing", "symlink"),
        ("/a/through", "not a directory /a/b/file", "symlink"),
        ("/a/link39", "file", "symlink"),
        ("/a/link40", "too many /a/link0", "symlink"),
    ] {
        for (follow, expected) in [(Follow::Yes, followed), (Follow::No, not_followed)] {
            let found = reader.lookup(path.as_bytes(), follow).map(|inode| inode.file_type);
            assert_eq!(describe(found), expected, "{path} {follow:?}");
        }
    }
}

#[test]
fn only_regular_files_can_be_opened() {
    let image = image();
    let reader = Reader::open(&image).unwrap();
    for (path, expected) in [
        ("/a/relative", "file"),
        ("/a/b/root", "a directory /"),
        ("/a/b/c", "a directory /a/b/c"),
        ("/a/fifo", "not a file /a/fifo"),
        ("/a/b/nothing", "not found /a/b/nothing"),
    ] {
        let open = reader.open_file(path.as_bytes());
        assert_eq!(describe(open.map(|file| file.inode().file_type)), expected, "{path}");
        assert_eq!(reader.read(path.as_bytes()).is_ok(), expected == "file", "{path}");
    }
    assert_eq!(reader.read(b"/a/up/directory/file").unwrap(), b"what it holds");
    reader.open_inode(&reader.root().unwrap()).unwrap_err();
}

#[test]
fn several_open_files_are_read_at_any_offset() {
    let reader = Arc::new(Reader::open(image()).unwrap());
    let inode = reader.lookup(b"/a/large", Follow::Yes).unwrap();
    let mut large = File::new(Arc::clone(&reader), &inode).unwrap();
    let mut small = reader.open_file(b"/a/b/file").unwrap();
    let len = 1 << 20;
    let mut expected = vec![0; len];
    expected[..4].copy_from_slice(b"head");
    expected[len - 4..].copy_from_slice(b"tail");
    // Blocks, holes, their borders, the end of the file, and beyond it.
    for start in [
        0,
        1,
        3,
        4,
        4095,
        4096,
        5000,
        len - 4097,
        len - 4096,
        len - 5,
        len - 1,
        len,
        len + 9,
    ] {
        for count in [0, 1, 4, 4096, 5000, len] {
            let end = len.min(start + count);
            let expected = expected.get(start..end).unwrap_or_default();
            let mut buffer = vec![0xFF; count];
            let read = large.read_at(&mut buffer, start as u64).unwrap();
            assert_eq!(&buffer[..read], expected, "{count} bytes at {start}");
            assert_eq!(
                large.read_exact_at(&mut buffer, start as u64).is_ok(),
                expected.len() == count
            );
            large.seek(SeekFrom::Start(start as u64)).unwrap();
            let mut through = Vec::new();
            (&mut large).take(count as u64).read_to_end(&mut through).unwrap();
            assert_eq!(through, expected, "{count} bytes from {start} on");
        }
    }
    small.seek(SeekFrom::Current(5)).unwrap();
    let mut text = String::new();
    small.read_to_string(&mut text).unwrap();
    assert_eq!(text, "it holds");
    small.seek(SeekFrom::End(-14)).unwrap_err();
    assert_eq!(small.seek(SeekFrom::End(-5)).unwrap(), 8);
    assert_eq!(large.next_data(4), Some(4..4096));
    assert_eq!(large.next_data(4096), Some(len as u64 - 4096..len as u64));
    assert_eq!(large.next_data(len as u64), None);
    assert!(format!("{small:?} {reader:?}").contains("size: 13"));
}

#[test]
fn a_walk_is_sorted_by_name() {
    let image = image();
    let reader = Reader::open(&image).unwrap();
    let found: Vec<_> = reader.walk().map(|found| found.unwrap().0).collect();
    assert_eq!(found[0], b"/");
    let names: Vec<_> = found.iter().map(|path| String::from_utf8_lossy(path)).collect();
    let parts = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    assert!(
        names[1..].windows(2).all(|pair| parts(&pair[0]) < parts(&pair[1])),
        "{names:?}"
    );
    assert_eq!(found.len(), 58, "{names:?}");
}

#[test]
fn a_walk_ends_at_a_directory_that_contains_itself() {
    let mut image = image();
    // Turns `/a/b/c` into a second entry of `/a`, without checksums.
    image[1024 + 0x65] &= !4;
    let a = Reader::open(&image).unwrap().lookup(b"/a", Follow::Yes).unwrap().ino;
    let entry = |name: &[u8]| [&[u8::try_from(name.len()).unwrap(), 2], name].concat();
    let c = image.windows(3).position(|bytes| bytes == entry(b"c")).unwrap();
    image[c - 6..c - 2].copy_from_slice(&a.get().to_le_bytes());
    let reader = Reader::open(&image).unwrap();
    let errors: Vec<_> = reader
        .walk()
        .filter_map(Result::err)
        .map(|error| error.to_string())
        .collect();
    assert_eq!(
        errors,
        [format!(
            "inode {} is damaged: it is a directory with two names",
            a.get()
        )]
    );
    assert_eq!(
        describe(
            reader
                .lookup(b"/a/b/c/b/c/fifo", Follow::Yes)
                .map(|inode| inode.file_type)
        ),
        "fifo"
    );
}

/// Reads all contents and symlink targets, in the order of a walk.
fn contents<R: ReadAt>(reader: &Reader<R>) -> Vec<(Ino, Vec<u8>)> {
    let read = |found: Result<(Vec<u8>, _), _>| {
        let (path, inode): (_, ext4::read::Inode) = found.unwrap();
        let content = match inode.file_type {
            FileType::RegularFile => reader.read(&path).unwrap(),
            FileType::Symlink => reader.read_link(&inode).unwrap(),
            _ => Vec::new(),
        };
        (inode.ino, content)
    };
    reader.walk().map(read).collect()
}

#[test]
fn threads_share_a_reader() {
    let image = image();
    let expected = contents(&Reader::open(&image[..]).unwrap());
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &image).unwrap();
    let readers: [Box<dyn ReadAt + Send + Sync>; 4] = [
        Box::new(&file),
        Box::new(Arc::new(image.clone())),
        Box::new(ReadSeek::new(&file)),
        Box::new(Cursor::new(&image)),
    ];
    for source in readers {
        assert_eq!(source.size().unwrap(), image.len() as u64);
        source.read_exact_at(&mut [0; 2], image.len() as u64 - 1).unwrap_err();
        let reader = Reader::open(source).unwrap();
        thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(|| contents(&reader)));
            for thread in threads {
                assert!(thread.join().unwrap() == expected);
            }
        });
    }
}
