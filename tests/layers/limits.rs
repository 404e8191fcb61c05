//! Tests of the limits of layers: values right below and right above each limit.

use std::io::{self, BufReader, Read};

use ext4::{Fit, Formatter, InodeId, Journal, Options, Size};
use layer::cancel::Cancel;
use layer::{LayerError, LayerErrorKind, LayerOptions, Limits, RootfsBuilder, decode};

use crate::layers::{empty, message, notation};
use support::tar::{BLOCK, Entry, Header, archive};

/// Cost of an attribute in bytes, besides its name and value.
const XATTR_COST: u64 = 256;

/// Applies layers within limits.
fn apply_within(limits: Limits, layers: &[&str]) -> Result<(), LayerError> {
    let mut rootfs = RootfsBuilder::with_limits(empty().formatter, limits);
    for layer in layers {
        rootfs.apply(&archive(&notation::entries(layer))[..], &LayerOptions::default())?;
    }
    Ok(())
}

/// Returns the message of layers that exceed a limit.
fn refused(limits: Limits, layers: &[&str]) -> String {
    message(&apply_within(limits, layers).expect_err("the layers exceed a limit"))
}

/// Asserts that a message has each of the words.
fn assert_message(message: &str, words: &str) {
    for word in words.split_whitespace() {
        assert!(message.contains(word), "{word:?} is missing in {message:?}");
    }
}

#[test]
fn entries_are_counted_over_all_layers() {
    let limits = |entries| Limits {
        entries,
        ..Limits::default()
    };
    let layers = ["f=x g=x", ".wh.f h=x"];
    apply_within(limits(4), &layers).unwrap();
    assert_message(&refused(limits(3), &layers), "entry 2 \"h\" 4 entries 3 allowed");
}

#[test]
fn directories_without_an_entry_count_as_entries() {
    let limits = |entries| Limits {
        entries,
        ..Limits::default()
    };
    apply_within(limits(4), &["a/b/c/f=x"]).unwrap();
    assert_message(&refused(limits(3), &["a/b/c/f=x"]), "entry 1 \"a/b/c/f\" 4 entries 3");
}

#[test]
fn paths_targets_and_attributes_are_counted() {
    let limits = |metadata| Limits {
        metadata,
        ..Limits::default()
    };
    // One byte for each name, 10 for the target, 6 + 4 for the attribute, counted twice, and its
    // fixed cost.
    let layer = "f=x(user.a=four) s->0123456789";
    apply_within(limits(32 + XATTR_COST), &[layer]).unwrap();
    assert_message(
        &refused(limits(31 + XATTR_COST), &[layer]),
        &format!(
            "entry 2 \"s\" paths {} bytes {} allowed",
            32 + XATTR_COST,
            31 + XATTR_COST
        ),
    );
}

/// An attribute with an empty value sets nothing and costs nothing. An attribute that is left out
/// costs its bytes.
#[test]
fn each_kept_attribute_has_a_fixed_cost() {
    let limits = |metadata| Limits {
        metadata,
        ..Limits::default()
    };
    let layer = "f=x(user.a=,user.b=,system.c=d) p|(user.a=b) h==f(user.a=b) .wh.g(user.a=b)";
    let cost = 2 * (2 * 6 + XATTR_COST) + 1 + 1 + 2 + 1;
    apply_within(limits(cost), &[layer]).unwrap();
    assert_message(
        &refused(limits(cost - 1), &[layer]),
        &format!("entry 4 \".wh.g\" {cost} bytes {} allowed", cost - 1),
    );
}

/// Long paths take time to resolve, and later steps hold paths with their symlinks resolved.
#[test]
fn paths_are_counted_as_resolved() {
    let limits = |metadata| Limits {
        metadata,
        ..Limits::default()
    };
    let stack_costs = |layers: &[&str], cost: u64| {
        apply_within(limits(cost), layers).unwrap();
        assert_message(&refused(limits(cost - 1), layers), &format!("{cost} bytes"));
    };
    let cost_is = |layer: &str, cost| stack_costs(&[layer], cost);
    cost_is("a/b/c/f=x", 7 + (1 + 3 + 5));
    let link = "abc/def/ l->abc/def";
    let link_cost = 7 + 3 + (1 + 7);
    cost_is(&format!("{link} l/f=x"), link_cost + (3 + 7));
    cost_is(&format!("{link} l/g/f=x"), link_cost + (5 + 7 + 9));
    stack_costs(&[link, "l/.wh.f"], link_cost + (3 + 7));
    stack_costs(&[link, "l/.wh..wh..opq"], link_cost + (1 + 7));
    cost_is(&format!("{link} l/f= h==l/f"), link_cost + (3 + 7) + (1 + 3 + 7));
    cost_is(
        "abc/def/ l->/abc/def m->l/../x m/f=x",
        7 + 3 + (1 + 8) + (1 + 6) + (3 + 14 + 5),
    );
    cost_is("abc/def/l->/ abc/def/l/f=x", 9 + 1 + 3 + 7 + (11 + 1));
}

#[test]
fn bytes_are_counted_over_all_layers_headers_included() {
    let layer = archive(&notation::entries("f=x"));
    let len = layer.len() as u64;
    let limits = |size| Limits {
        size,
        ..Limits::default()
    };
    apply_within(limits(2 * len), &["f=x", "f=x"]).unwrap();
    assert_message(
        &refused(limits(2 * len - 1), &["f=x", "f=x"]),
        &format!("{} bytes {} allowed", 2 * len, 2 * len - 1),
    );
}

/// A header with a size of 1 PiB. No content follows: the header alone decides.
#[test]
fn a_file_beyond_the_limit_is_refused_before_it_is_read() {
    let tar = Header::new(b'0', b"huge", 1 << 50).seal();
    let unread = io::repeat(b'x').take(u64::MAX);
    let mut tar = BufReader::new(tar.chain(unread));
    let error = empty().apply(&mut tar, &LayerOptions::default()).unwrap_err();
    assert_message(&message(&error), "entry 1 \"huge\" 68719476736 allowed");
    let (_, unread) = tar.into_inner().into_inner();
    assert!(u64::MAX - unread.limit() < 1 << 20, "the content was read");
}

#[test]
fn a_hole_of_1_pib_is_refused_and_one_of_15_tib_costs_nothing() {
    let sparse = |len: &str| {
        let file = Entry::file("f", "")
            .pax("GNU.sparse.major", "0")
            .pax("GNU.sparse.minor", "1")
            .pax("GNU.sparse.size", len)
            .pax("GNU.sparse.map", "0,0");
        let mut rootfs = empty();
        rootfs.apply(&archive(&[file])[..], &LayerOptions::default())?;
        Ok::<_, LayerError>(rootfs.formatter.finish(rootfs.tree).unwrap().0.len())
    };
    assert_message(
        &message(&sparse("1125899906842624").unwrap_err()),
        "entry 1 \"f\" 1125899906842624 bytes 17592186040320",
    );
    assert!(sparse("16492674416640").unwrap() < 2 << 20);
}

/// Bytes that are read ahead of an entry are not counted twice.
#[test]
fn an_entry_may_fill_the_limit_to_the_last_byte() {
    let tar = archive(&[Entry::file("f", vec![b'x'; 100_000])]);
    let apply = |size: usize| {
        let limits = Limits {
            size: size as u64,
            ..Limits::default()
        };
        let mut rootfs = RootfsBuilder::with_limits(empty().formatter, limits);
        rootfs.apply(&tar[..], &LayerOptions::default()).map(drop)
    };
    apply(tar.len()).unwrap();
    assert_message(
        &message(&apply(tar.len() - 1).unwrap_err()),
        "101888 bytes 101887 allowed",
    );
}

/// Each range takes a block of the disk, although it is one byte of the tar.
#[test]
fn ranges_of_sparse_files_count_as_blocks() {
    let map: Vec<String> = (0..1000).map(|index| format!("{},1", index * 8192)).collect();
    let file = Entry::file("f", [b'x'; 1000])
        .pax("GNU.sparse.major", "0")
        .pax("GNU.sparse.minor", "1")
        .pax("GNU.sparse.size", "9000000")
        .pax("GNU.sparse.map", map.join(","));
    let tar = archive(&[file]);
    let apply = |size| {
        let limits = Limits {
            size,
            ..Limits::default()
        };
        let mut rootfs = RootfsBuilder::with_limits(empty().formatter, limits);
        rootfs.apply(&tar[..], &LayerOptions::default()).map(drop)
    };
    apply(1000 * 4096 + tar.len() as u64).unwrap();
    assert_message(
        &message(&apply(1000 * 4096).unwrap_err()),
        "entry 1 \"f\" 4096000 allowed",
    );
}

/// A few KiB that unpack to 256 MiB: inside a file, and after the end of the archive, where entries
/// are no longer read.
#[test]
fn compression_bombs_are_refused() {
    let zeros = || io::repeat(0).take(1 << 28);
    let file = Header::new(b'0', b"f", 1 << 28).seal();
    for (head, words) in [(&file[..], "entry 1 \"f\" 268435456"), (&[0; 2 * BLOCK][..], "entry 1")] {
        let blob = zstd::encode_all(head.chain(zeros()), 1).unwrap();
        assert!(blob.len() < 200_000, "{}", blob.len());
        let limits = Limits {
            size: 100 << 20,
            ..Limits::default()
        };
        let mut rootfs = RootfsBuilder::with_limits(empty().formatter, limits);
        let tar = decode(&blob[..], "application/vnd.oci.image.layer.v1.tar+zstd").unwrap();
        let error = rootfs.apply(BufReader::new(tar), &LayerOptions::default()).unwrap_err();
        assert!(matches!(error.kind, LayerErrorKind::TooLarge { .. }));
        assert_message(&message(&error), words);
        assert_message(&message(&error), "104857600 allowed");
    }
}

#[test]
fn attribute_values_are_limited_to_64_kib() {
    let file = |len| archive(&[Entry::file("f", "").pax("SCHILY.xattr.user.a", vec![b'v'; len])]);
    empty().apply(&file(65_536)[..], &LayerOptions::default()).unwrap();
    let error = empty().apply(&file(65_537)[..], &LayerOptions::default()).unwrap_err();
    assert_message(&message(&error), "entry 1 \"f\" user.a 65537 bytes 65536");
}

/// The fit is checked at the entry: an error of the finished image could not name the layer.
#[test]
fn attributes_are_limited_to_an_inode_and_a_block() {
    let file = |count: usize| {
        let name = |index| format!("SCHILY.xattr.user.{index:0249}");
        let file = Entry::file("f", "");
        archive(&[(0..count).fold(file, |file, index| file.pax(name(index), "v"))])
    };
    let mut rootfs = empty();
    rootfs.apply(&file(15)[..], &LayerOptions::default()).unwrap();
    rootfs.formatter.finish(rootfs.tree).unwrap();
    let error = empty().apply(&file(16)[..], &LayerOptions::default()).unwrap_err();
    assert_message(&message(&error), "entry 1 \"f\" attributes \"/f\" 4060 bytes user.0");
}

#[test]
fn an_invalid_acl_is_refused_at_its_entry() {
    let file = Entry::file("f", "").pax("SCHILY.xattr.system.posix_acl_access", "no");
    let error = empty()
        .apply(&archive(&[file])[..], &LayerOptions::default())
        .unwrap_err();
    assert_message(&message(&error), "entry 1 \"f\" system.posix_acl_access ACL");
}

/// Each symlink leads to the directory of the level before, and entries below it go deeper, up to
/// the limit on the length of a path.
#[test]
fn no_directory_is_too_deep_for_the_stack() {
    let deeper = "d/".repeat(2000);
    let mut entries = vec![Entry::directory(&deeper)];
    for level in 1..16 {
        let below = if level == 1 {
            String::new()
        } else {
            format!("s{}/", level - 1)
        };
        entries.push(Entry::symlink(format!("s{level}"), format!("{below}{deeper}")));
        entries.push(Entry::directory(format!("s{level}/{deeper}")));
    }
    let lower = archive(&entries);
    let options = Options {
        size: Size::Fit(Fit {
            free: 0,
            free_percent: 0,
            min: 0,
            ..Fit::default()
        }),
        journal: Journal::None,
        ..Options::new([7; 16])
    };
    let rootfs = move || RootfsBuilder::new(Formatter::new(Vec::new(), options.clone()).unwrap());
    let run = move || {
        let mut deep = rootfs();
        deep.apply(&lower[..], &LayerOptions::default()).unwrap();
        let mut depth = 0;
        let mut directory = InodeId::ROOT;
        while let Some(below) = deep.tree.lookup(directory, b"d") {
            directory = below;
            depth += 1;
        }
        assert_eq!(depth, 32_000);
        deep.formatter.finish(deep.tree).unwrap();

        let mut hidden = rootfs();
        hidden.apply(&lower[..], &LayerOptions::default()).unwrap();
        let whiteout = archive(&[Entry::file(".wh..wh..opq", ""), Entry::file("s1/.wh.d", "")]);
        hidden.apply(&whiteout[..], &LayerOptions::default()).unwrap();
        assert_eq!(hidden.tree.lookup(InodeId::ROOT, b"d"), None);
    };
    let thread = std::thread::Builder::new().stack_size(256 << 10);
    thread.spawn(run).unwrap().join().unwrap();
}

#[test]
fn a_cancelled_layer_ends_with_an_error() {
    /// Reader that cancels at the end of a layer.
    struct CancelAtEnd<'a>(&'a [u8], Cancel);
    impl Read for CancelAtEnd<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = self.0.read(buffer)?;
            if len == 0 {
                self.1.cancel();
            }
            Ok(len)
        }
    }
    let cancel = Cancel::new();
    let mut options = LayerOptions::default();
    options.cancel = cancel.clone();
    let mut rootfs = empty();
    let layer = |entries| archive(&notation::entries(entries));
    rootfs.apply(&layer("a=1")[..], &LayerOptions::default()).unwrap();
    let read = layer("b=1 c=2");
    let error = rootfs
        .apply(BufReader::new(CancelAtEnd(&read, cancel)), &options)
        .unwrap_err();
    assert!(matches!(error.kind, LayerErrorKind::Cancelled(_)), "{error:?}");
    assert_message(&message(&error), "entry 1 \"b\" interrupted");

    let error = rootfs.apply(&layer("d=1")[..], &options).unwrap_err();
    assert!(matches!(error.kind, LayerErrorKind::Cancelled(_)), "{error:?}");
    assert_eq!(error.position.name, None, "no entry is read");
}
