//! Tests of `microagent::diff`: each kind of difference, by a pair of disk images that differ in
//! nothing else.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod sample;

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::slice;

use ext4::{BlockSize, Device, Kind, Label, Options, Size, Timestamp};
use layer::cancel::{Cancel, Cancelled};
use layer::failure::{ErrorKind, Failure as _};
use microagent::diff::{DiffError, DiffOptions, DiffReason, DiffSection, Difference, diff};
use microagent::inspect::{DiskImage, InspectReason};
use microagent::verify::verify;
use oci::{Algorithm, Digest};
use sample::{Change, Sample, changed, options, permissions, sample};
use tempfile::NamedTempFile;

/// Returns all differences of two images, which are none only if they have the same bytes.
fn differences(a: &NamedTempFile, b: &NamedTempFile) -> Vec<Difference> {
    let mut found = Vec::new();
    let same = diff(
        a.path(),
        b.path(),
        DiffOptions::default(),
        &Cancel::new(),
        &mut |difference| {
            found.push(difference.clone());
            Ok(())
        },
    );
    assert_eq!(same.unwrap(), found.is_empty());
    found
}

/// Formats the differences of the tree, one a line.
fn tree_lines(differences: &[Difference]) -> Vec<String> {
    let in_tree = differences
        .iter()
        .filter(|difference| difference.section == DiffSection::Tree);
    let line = |difference: &Difference| {
        let value = |value: &Option<String>| value.clone().unwrap_or_default();
        let count = difference.count.map(|count| format!(" ({count})"));
        format!(
            "{} {}: {} -> {}{}",
            difference.printable_path().unwrap(),
            difference.field,
            value(&difference.a),
            value(&difference.b),
            count.unwrap_or_default()
        )
    };
    in_tree.map(line).collect()
}

/// Returns the fields of the differences in a section.
fn fields(differences: &[Difference], section: DiffSection) -> Vec<&str> {
    let in_section = differences.iter().filter(|difference| difference.section == section);
    in_section.map(|difference| &*difference.field).collect()
}

#[test]
fn each_change_of_the_tree_is_the_only_difference() {
    let table: &[(Change, &[&str])] = &[
        (
            |sample| sample.metadata("etc").mode = 0o700,
            &["/etc mode: 0755 -> 0700"],
        ),
        (
            |sample| (sample.metadata("null").uid, sample.metadata("null").gid) = (5, 70_000),
            &["/null uid: 0 -> 5", "/null gid: 0 -> 70000"],
        ),
        (
            |sample| sample.metadata("link").modified = Timestamp::saturating(-1, 1),
            &[
                "/link mtime: 0.000000000 -> -1.000000001",
                "/link crtime: 0.000000000 -> -1.000000001",
            ],
        ),
        (
            |sample| sample.metadata("etc/motd").accessed = Timestamp::saturating(5_000_000_000, 0),
            &["/etc/motd atime: 0.000000000 -> 5000000000.000000000"],
        ),
        (
            |sample| sample.metadata("etc/motd").changed = Timestamp::saturating(0, 7),
            &["/etc/motd ctime: 0.000000000 -> 0.000000007"],
        ),
        (
            |sample| sample.metadata("").xattrs.set(b"user.a", b"\x01b").unwrap(),
            &["/ xattr user.a:  -> \"\\x01b\""],
        ),
        (|sample| sample.file("new", b"x"), &["/new type:  -> file"]),
        (|sample| sample.remove("null"), &["/null type: character device -> "]),
        (|sample| sample.remove("etc"), &["/etc type: directory ->  (1)"]),
        (
            |sample| {
                sample.remove("etc");
                sample.file("etc", b"");
            },
            &["/etc type: directory -> file"],
        ),
        (
            |sample| {
                sample.remove("null");
                let device = Device {
                    major: 4095,
                    minor: 300,
                };
                sample.put("null", permissions(0o666), Kind::CharDevice(device));
            },
            &["/null device: 1:3 -> 4095:300"],
        ),
        (
            |sample| {
                sample.remove("link");
                sample.put("link", permissions(0o777), Kind::Symlink(b"\x1b\xff"[..].into()));
            },
            &["/link target: etc/motd -> \\u{1b}\\xff"],
        ),
        (
            |sample| sample.file("a\u{202e}txt", b""),
            &["/a\\u{202e}txt type:  -> file"],
        ),
        (
            |sample| sample.link("other", "binary"),
            &["/binary links: 1 -> 2", "/other type:  -> file"],
        ),
    ];
    let before = changed(|_| {});
    for (change, expected) in table {
        let found = differences(&before, &changed(*change));
        assert_eq!(tree_lines(&found), *expected);
    }
}

#[test]
fn separate_files_differ_from_hard_links() {
    let linked = changed(|sample| {
        sample.file("one", b"same");
        sample.link("two", "one");
    });
    let apart = changed(|sample| {
        sample.file("one", b"same");
        sample.file("two", b"same");
    });
    assert_eq!(
        tree_lines(&differences(&linked, &apart)),
        [
            "/one links: 2 -> 1",
            "/two hard link to: /one -> ",
            "/two links: 2 -> 1"
        ]
    );
    let other = changed(|sample| {
        sample.file("one", b"same");
        sample.link("two", "binary");
    });
    let lines = tree_lines(&differences(&linked, &other));
    assert_eq!(lines[2], "/two hard link to: /one -> /binary");
    assert!(
        lines[3..].iter().any(|line| line.starts_with("/two content: ")),
        "{lines:?}"
    );
}

/// Returns the difference in the content of a file.
fn content(a: Change, b: Change) -> Difference {
    let found = differences(&changed(a), &changed(b));
    let mut contents = found.into_iter().filter(|difference| difference.field == "content");
    contents.next().unwrap()
}

#[test]
fn the_excerpt_of_a_text_is_a_unified_diff() {
    let found = content(
        |_| {},
        |sample| {
            sample.remove("etc/motd");
            sample.file("etc/motd", b"welcome\nto that\nmachine\n");
        },
    );
    assert_eq!(found.offset, Some(13));
    assert_eq!(
        found.excerpt,
        ["@@ -1,3 +1,3 @@", " welcome", "-to this", "+to that", " machine"]
    );
    assert_ne!(found.a, found.b);
    assert!(found.a.unwrap().starts_with("sha256:"));
}

#[test]
fn the_excerpt_of_a_binary_file_begins_at_the_first_difference() {
    let found = content(
        |_| {},
        |sample| {
            sample.remove("binary");
            let mut bytes = [0, 1, 2, 3].repeat(3000);
            bytes[9001] = b'!';
            sample.file("binary", &bytes);
        },
    );
    assert_eq!(found.offset, Some(9001));
    assert_eq!(
        found.excerpt[..2],
        [
            "-00002320  00 01 02 03 00 01 02 03 00 01 02 03 00 01 02 03  |................|",
            "+00002320  00 01 02 03 00 01 02 03 00 21 02 03 00 01 02 03  |.........!......|",
        ]
    );
}

/// Adds a sparse file with a single byte at an offset.
fn put_sparse(sample: &mut Sample, len: u64, at: u64) {
    let formatter = sample.formatter.as_mut().unwrap();
    let range = at..at + 1;
    let data = formatter.write_sparse(&b"!"[..], len, slice::from_ref(&range)).unwrap();
    sample.put("sparse", permissions(0o644), Kind::File(data));
}

#[test]
fn holes_equal_zeros() {
    let found = content(
        |sample| put_sparse(sample, 1 << 40, 1 << 39),
        |sample| put_sparse(sample, 1 << 40, (1 << 38) + 5),
    );
    assert_eq!(found.offset, Some((1 << 38) + 5));
    assert_eq!((found.a, found.b), (None, None), "a TiB of holes is not hashed");
    let found = content(
        |sample| put_sparse(sample, 1 << 30, 5),
        |sample| put_sparse(sample, 1 << 31, 5),
    );
    assert_eq!(found.offset, Some(1 << 30), "the end of the shorter one");

    let with_hole = changed(|sample| put_sparse(sample, 3000, 0));
    let without = changed(|sample| {
        let bytes = [&b"!"[..], &[0; 2999]].concat();
        sample.file("sparse", &bytes);
    });
    let found = differences(&with_hole, &without);
    assert_eq!(tree_lines(&found), [] as [&str; 0], "the contents are equal");
    assert!(fields(&found, DiffSection::Layout).contains(&"extents"));
}

/// Changes the options.
type OptionChange = fn(&mut Options);

#[test]
fn changed_options_are_differences_of_the_superblock() {
    let before = changed(|_| {});
    let table: &[(OptionChange, &[&str])] = &[
        (
            |options| options.label = Label::new("a label").unwrap(),
            &["volume_name"],
        ),
        (|options| options.uuid = [8; 16], &["uuid"]),
        (|options| options.hash_seed = [8; 16], &["hash_seed"]),
        (|options| options.created = 5, &["wtime", "lastcheck", "mkfs_time"]),
        (|options| options.reserved_percent = 5, &["r_blocks_count"]),
    ];
    for (change, expected) in table {
        let mut options = options();
        change(&mut options);
        let found = differences(&before, &sample(options).finish());
        assert_eq!(fields(&found, DiffSection::Superblock), *expected);
        assert_eq!(tree_lines(&found), [] as [&str; 0]);
        assert_eq!(fields(&found, DiffSection::Layout), [] as [&str; 0]);
    }
    let larger = sample(Options {
        size: Size::Fixed(32 << 20),
        block_size: BlockSize::Kib4,
        ..options()
    });
    let found = differences(&before, &larger.finish());
    for field in ["blocks_count", "log_block_size", "blocks_per_group"] {
        assert!(fields(&found, DiffSection::Superblock).contains(&field), "{field}");
    }
    assert_eq!(tree_lines(&found), [] as [&str; 0]);
    assert_eq!(fields(&found, DiffSection::Bytes), ["file size"]);
}

#[test]
fn moved_files_differ_in_the_layout_only() {
    let [one, other] = [["x", "y"], ["y", "x"]].map(|order| {
        let mut sample = sample(options());
        for name in order {
            sample.file(name, name.as_bytes());
        }
        sample.finish()
    });
    let found = differences(&one, &other);
    assert_eq!(fields(&found, DiffSection::Tree), [] as [&str; 0]);
    let extents = &found[0];
    assert_eq!(
        (extents.section, &*extents.field, extents.count),
        (DiffSection::Layout, "extents", Some(2))
    );
    assert_eq!(extents.excerpt.len(), 4);
    assert!(extents.excerpt[0].starts_with("-/x: 0+1@"), "{:?}", extents.excerpt);

    let mut paths = Vec::new();
    let mut every = DiffOptions::default();
    every.list_moved_files = true;
    diff(one.path(), other.path(), every, &Cancel::new(), &mut |difference| {
        paths.extend(difference.printable_path());
        Ok(())
    })
    .unwrap();
    assert_eq!(paths, ["/x", "/y"]);
}

/// Returns a file with these bytes, and `patch` at a position.
fn patched(bytes: &[u8], position: usize, patch: &[u8]) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    let mut bytes = bytes.to_vec();
    let end = bytes.len().max(position + patch.len());
    bytes.resize(end, 0);
    bytes[position..position + patch.len()].copy_from_slice(patch);
    fs::write(file.path(), bytes).unwrap();
    file
}

#[test]
fn bytes_outside_of_files_are_named_by_their_region() {
    let before = changed(|_| {});
    let bytes = fs::read(before.path()).unwrap();
    let end_of_text = bytes.windows(8).position(|window| window == b"machine\n").unwrap() + 8;
    let backup = (1 + 8192) << 10;
    for (position, patch, expected) in [
        (0, &b"boot"[..], vec!["boot area"]),
        (15 << 20, b"hidden", vec!["free blocks"]),
        (end_of_text, b"hidden", vec!["blocks of files"]),
        (backup + 0x78, b"label", vec!["copies of the superblock"]),
        (16 << 20, b"behind", vec!["file size", "behind the file system"]),
    ] {
        let after = patched(&bytes, position, patch);
        let found = differences(&before, &after);
        assert_eq!(fields(&found, DiffSection::Bytes), expected);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        let excerpt = found.last().unwrap().excerpt.join("\n");
        let shown = format!("{:02x} {:02x} {:02x}", patch[0], patch[1], patch[2]);
        assert!(excerpt.contains(&shown), "{excerpt}");
    }
}

#[test]
fn an_image_equals_itself_and_a_copy_without_holes() {
    let image = changed(|sample| put_sparse(sample, 1 << 40, 77));
    assert_eq!(differences(&image, &image), []);
    let copy = NamedTempFile::new().unwrap();
    fs::write(copy.path(), fs::read(image.path()).unwrap()).unwrap();
    assert_eq!(differences(&image, &copy), []);
}

#[test]
fn unreadable_images_and_failed_reports_are_errors() {
    let image = changed(|_| {});
    let compare = |path: &std::path::Path| {
        diff(image.path(), path, DiffOptions::default(), &Cancel::new(), &mut |_| {
            Ok(())
        })
    };
    let missing = compare(std::path::Path::new("/nowhere/at/all")).unwrap_err();
    assert!(
        matches!(
            missing,
            DiffError::Image {
                reason: DiffReason::File(_),
                ..
            }
        ),
        "{missing:?}"
    );
    let nothing = NamedTempFile::new().unwrap();
    let none = compare(nothing.path()).unwrap_err();
    assert!(
        matches!(
            none,
            DiffError::Image {
                reason: DiffReason::Read(_),
                ..
            }
        ),
        "{none:?}"
    );

    let other = changed(|sample| sample.metadata("etc").mode = 0);
    let refused = diff(
        image.path(),
        other.path(),
        DiffOptions::default(),
        &Cancel::new(),
        &mut |_| Err(io::ErrorKind::StorageFull.into()),
    );
    assert!(matches!(refused.unwrap_err(), DiffError::Report(_)));
}

/// Adds a directory with an index, a file with extents in nodes, and attributes in a block.
fn put_large_metadata(sample: &mut Sample) {
    for number in 0..40 {
        sample.file(&format!("{number:n>200}"), b"x");
    }
    let ranges: Vec<_> = (0..400).map(|index| index * 2048..index * 2048 + 1).collect();
    let formatter = sample.formatter.as_mut().unwrap();
    let data = formatter.write_sparse(&[1; 400][..], 400 * 2048, &ranges).unwrap();
    let mut metadata = permissions(0o644);
    metadata.xattrs.set(b"user.large", &[b'x'; 500]).unwrap();
    sample.put("fragmented", metadata, Kind::File(data));
}

/// Returns an image without checksums, so that damage is not reported as a wrong checksum, and its
/// bytes.
fn without_checksums(change: Change) -> (NamedTempFile, Vec<u8>) {
    // `s_feature_ro_compat`, whose bit 10 is `metadata_csum`.
    const FEATURES: usize = 1024 + 0x64;
    let image = changed(change);
    let mut bytes = fs::read(image.path()).unwrap();
    assert_eq!(bytes[FEATURES + 1] & 4, 4);
    bytes[FEATURES + 1] &= !4;
    fs::write(image.path(), &bytes).unwrap();
    (image, bytes)
}

/// Returns the offset of a part in bytes.
fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).unwrap()
}

/// Returns the error of a comparison with an image that was damaged on purpose.
fn refused(make: Change, damage: fn(&mut [u8])) -> DiffReason {
    let (image, mut bytes) = without_checksums(make);
    damage(&mut bytes);
    fs::write(image.path(), bytes).unwrap();
    let (other, _) = without_checksums(|sample| {
        put_hostile_targets(sample);
        sample.metadata("etc").mode = 0o700;
    });
    match diff(
        other.path(),
        image.path(),
        DiffOptions::default(),
        &Cancel::new(),
        &mut |_| Ok(()),
    ) {
        Err(DiffError::Image { image: path, reason }) => {
            assert_eq!(path, image.path());
            reason
        }
        found => panic!("{found:?}"),
    }
}

/// Adds a large file and a small one, whose times identify their inodes, and a directory in a
/// directory.
fn put_hostile_targets(sample: &mut Sample) {
    sample.file("large", &vec![1; 9 << 20]);
    sample.metadata("large").modified = Timestamp::saturating(0x1122_3344, 0);
    sample.file("small", b"x");
    sample.metadata("small").modified = Timestamp::saturating(0x5566_7788, 0);
    sample.directory("etc/inner");
}

#[test]
fn images_with_shared_directories_inodes_or_blocks_are_refused() {
    // A directory entry has the inode number, the lengths of the entry and of the name, and the
    // file type.
    let second = refused(put_hostile_targets, |bytes| {
        let entry = find(bytes, b"inner") - 8;
        bytes[entry..entry + 4].copy_from_slice(&2_u32.to_le_bytes());
    });
    assert!(matches!(second, DiffReason::SecondDirectory { ino: 2 }), "{second:?}");

    let names = refused(put_hostile_targets, |bytes| {
        let [small, large] = [&b"small"[..], b"large"].map(|name| find(bytes, name) - 8);
        bytes.copy_within(large..large + 4, small);
    });
    assert!(matches!(names, DiffReason::TooManyNames { .. }), "{names:?}");

    let shared = refused(put_hostile_targets, |bytes| {
        // `i_mtime`, `i_size_lo` and `i_block`.
        let [small, large] = [0x5566_7788_u32, 0x1122_3344].map(|time| find(bytes, &time.to_le_bytes()) - 0x10);
        bytes.copy_within(large + 0x28..large + 0x64, small + 0x28);
        bytes.copy_within(large + 4..large + 8, small + 4);
    });
    assert!(matches!(shared, DiffReason::SharedBlocks), "{shared:?}");
}

/// Changes bytes anywhere in the metadata: each comparison ends with differences or an error,
/// without a panic and without a long wait.
#[test]
fn damaged_images_give_differences_or_an_error() {
    let (image, bytes) = without_checksums(put_large_metadata);
    let used: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    let (damaged, _) = without_checksums(put_large_metadata);
    let mut file = damaged.reopen().unwrap();
    let mut write = |at: usize, byte: u8| {
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        file.write_all(&[byte]).unwrap();
    };
    let mut errors = 0;
    for _ in 0..200 {
        let mut places = Vec::new();
        for _ in 0..=random() % 3 {
            // Zeros near other bytes are fields as well.
            let at = (used[random() % used.len()] + random() % 8).min(bytes.len() - 1);
            write(at, bytes[at].wrapping_add(1 + u8::try_from(random() % 255).unwrap()));
            places.push(at);
        }
        let mut count = 0;
        match diff(
            image.path(),
            damaged.path(),
            DiffOptions::default(),
            &Cancel::new(),
            &mut |_| {
                count += 1;
                Ok(())
            },
        ) {
            Ok(same) => assert_eq!(same, count == 0, "the result contradicts the reported differences"),
            Err(_) => errors += 1,
        }
        for at in places {
            write(at, bytes[at]);
        }
    }
    assert!(errors > 0, "no damage was noticed");
}

#[test]
fn diff_verify_and_inspect_can_be_cancelled() {
    let (image, _) = without_checksums(put_large_metadata);
    let (other, _) = without_checksums(|sample| sample.file("other", b"content"));
    let (a, b) = (image.path(), other.path());
    let cancelled = Cancel::new();
    cancelled.cancel();
    let error = diff(a, b, DiffOptions::default(), &cancelled, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, DiffError::Cancelled(_)), "{error:?}");
    let digest = Digest::of(Algorithm::Sha256, b"another");
    for digest in [None, Some(&digest)] {
        let error = verify(a, digest, &cancelled).unwrap_err();
        assert!(matches!(error.reason, InspectReason::Cancelled(_)), "{error:?}");
    }
    let error = DiskImage::open_until(a, &cancelled).err().unwrap();
    assert!(matches!(error.reason, InspectReason::Cancelled(_)), "{error:?}");

    let cancel = Cancel::new();
    let compared = diff(a, b, DiffOptions::default(), &cancel, &mut |_| {
        cancel.cancel();
        Ok(())
    });
    let error = compared.unwrap_err();
    assert!(matches!(error, DiffError::Cancelled(_)), "{error:?}");

    let cancel = Cancel::new();
    let disk = DiskImage::open_until(b, &cancel).unwrap();
    let directory = tempfile::tempdir().unwrap();
    disk.copy(b"/other", directory.path().join("copy")).unwrap();
    let mut content = disk.content(b"/other").unwrap();
    cancel.cancel();
    let error = content.read(&mut [0]).unwrap_err();
    assert!(Cancelled::caused(&error), "{error:?}");
    let error = disk.list(b"/").unwrap_err();
    assert!(matches!(error.reason, InspectReason::Cancelled(_)), "{error:?}");
    let error = disk.copy(b"/other", directory.path().join("other")).unwrap_err();
    assert!(Cancelled::caused(&error), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
