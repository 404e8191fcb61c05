//! Tests of sparse files in GNU tar's four formats, which none of the other ext4 builders reads
//! right.

use crate::layers::{apply, check_tars};
use support::tar::{BLOCK, Entry, Header, archive, padded};

/// Offsets and lengths of the ranges of a sparse file of 10,000 bytes.
const PAIRS: [(u64, u64); 3] = [(512, 6), (9000, 4), (10_000, 0)];
const DATA: &[u8] = b"firstlast";
const LEN: u64 = 10_000;

/// Returns `DATA` and one more byte, for maps that have 10 bytes.
fn data() -> Vec<u8> {
    [DATA, b"!"].concat()
}

/// Returns the expected content of a sparse file.
fn expanded(pairs: &[(u64, u64)], mut data: &[u8], len: u64) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(len).unwrap()];
    for &(start, count) in pairs {
        let (part, rest) = data.split_at(usize::try_from(count).unwrap());
        let start = usize::try_from(start).unwrap();
        content[start..start + part.len()].copy_from_slice(part);
        data = rest;
    }
    content
}

/// Returns the word of a file in the notation.
fn word(name: &str, content: &[u8]) -> String {
    let text: String = content
        .iter()
        .map(|&byte| {
            if byte == 0 {
                "\\x00".to_owned()
            } else {
                char::from(byte).to_string()
            }
        })
        .collect();
    format!("{name}={text}")
}

/// Old GNU format, type `S`: ranges in the header and in blocks after it.
fn old_gnu(name: &str, pairs: &[(u64, u64)], data: &[u8], len: u64) -> Vec<u8> {
    let mut header = Header::new(b'S', name.as_bytes(), data.len() as u64).gnu();
    header.number(483..495, i64::try_from(len).unwrap());
    let (first, rest) = pairs.split_at(pairs.len().min(4));
    for (index, &(start, count)) in first.iter().enumerate() {
        header.number(386 + 24 * index..398 + 24 * index, i64::try_from(start).unwrap());
        header.number(398 + 24 * index..410 + 24 * index, i64::try_from(count).unwrap());
    }
    header.0[482] = u8::from(!rest.is_empty());
    let mut bytes = header.seal().to_vec();
    let mut blocks = rest.chunks(21).peekable();
    while let Some(chunk) = blocks.next() {
        let mut block = Header([0; BLOCK]);
        for (index, &(start, count)) in chunk.iter().enumerate() {
            block.octal(24 * index..24 * index + 12, start);
            block.octal(24 * index + 12..24 * index + 24, count);
        }
        block.0[504] = u8::from(blocks.peek().is_some());
        bytes.extend(block.0);
    }
    [bytes, padded(data)].concat()
}

/// PAX format 0.0: a record for each offset and each length.
fn pax_0_0(name: &str, pairs: &[(u64, u64)], data: &[u8], len: u64) -> Vec<u8> {
    let mut entry = Entry::file(name, data)
        .pax("GNU.sparse.size", len.to_string())
        .pax("GNU.sparse.numblocks", pairs.len().to_string());
    for (start, count) in pairs {
        entry = entry
            .pax("GNU.sparse.offset", start.to_string())
            .pax("GNU.sparse.numbytes", count.to_string());
    }
    entry.bytes()
}

/// PAX format 0.1: one record with all offsets and lengths.
fn pax_0_1(name: &str, pairs: &[(u64, u64)], data: &[u8], len: u64) -> Vec<u8> {
    let map: Vec<String> = pairs.iter().map(|(start, count)| format!("{start},{count}")).collect();
    Entry::file(format!("GNUSparseFile.1/{name}"), data)
        .pax("GNU.sparse.size", len.to_string())
        .pax("GNU.sparse.numblocks", pairs.len().to_string())
        .pax("GNU.sparse.map", map.join(","))
        .pax("GNU.sparse.name", name)
        .bytes()
}

/// PAX format 1.0: offsets and lengths before the data.
fn pax_1_0(name: &str, pairs: &[(u64, u64)], data: &[u8], len: u64) -> Vec<u8> {
    let mut map = format!("{}\n", pairs.len());
    for (start, count) in pairs {
        map.extend([start, count].map(|number| format!("{number}\n")));
    }
    Entry::file(
        format!("GNUSparseFile.1/{name}"),
        [&padded(map.as_bytes()), data].concat(),
    )
    .pax("GNU.sparse.major", "1")
    .pax("GNU.sparse.minor", "0")
    .pax("GNU.sparse.name", name)
    .pax("GNU.sparse.realsize", len.to_string())
    .bytes()
}

/// Without a map, `GNU.sparse.name` is ignored, as in Go (`readGNUSparsePAXHeaders`). GNU tar,
/// libarchive and Python use it as the name all the same.
#[test]
fn the_name_of_a_sparse_file_is_ignored_without_a_map() {
    for (entry, expected) in [
        (Entry::file("f", "content"), "f=content"),
        (Entry::file("f", "content").pax("path", "g"), "g=content"),
        (Entry::directory("d"), "d/"),
        (Entry::symlink("s", "t"), "s->t"),
        (Entry::new(b'6', "p"), "p|"),
    ] {
        let entry = entry.pax("GNU.sparse.name", "other");
        check_tars(&[layer(entry.clone().bytes())], &format!("{expected} z=after"));
        // Sizes and numbers are not a map either.
        let entry = ["size", "realsize", "numblocks"]
            .into_iter()
            .fold(entry, |entry, keyword| entry.pax(format!("GNU.sparse.{keyword}"), "9"));
        check_tars(&[layer(entry.bytes())], &format!("{expected} z=after"));
    }
}

type Format = fn(&str, &[(u64, u64)], &[u8], u64) -> Vec<u8>;
const FORMATS: [(&str, Format); 4] = [("S", old_gnu), ("0.0", pax_0_0), ("0.1", pax_0_1), ("1.0", pax_1_0)];

/// Returns a layer of an entry and of a file `z` after it.
fn layer(entry: Vec<u8>) -> Vec<u8> {
    [entry, Entry::file("z", "after").bytes(), vec![0; 2 * BLOCK]].concat()
}

#[test]
fn sparse_files_are_expanded() {
    for (name, format) in FORMATS {
        for (pairs, len) in [
            (&PAIRS[..], LEN),
            (&[][..], 0),
            (&[], 5000),
            (&[(0, 0)], 0),
            (&[(5000, 0)], 5000),
            (&[(0, 10)], 10),
            (&[(0, 10)], 8192),
            (&[(8182, 10)], 8192),
            (&[(1, 2), (3, 4), (7, 4)], 11),
        ] {
            // These formats have no sparse files without a map: writers list an empty range at the
            // end.
            if pairs.is_empty() && name.starts_with("0.") {
                continue;
            }
            let data = &data()[..usize::try_from(pairs.iter().map(|pair| pair.1).sum::<u64>()).unwrap()];
            let expected = format!("{} z=after", word(name, &expanded(pairs, data, len)));
            check_tars(&[layer(format(name, pairs, data, len))], &expected);
        }
    }
}

/// More ranges than fit in the header, and in one block after it.
#[test]
fn sparse_files_may_have_many_ranges() {
    for count in [4, 5, 25, 26, 46, 1000] {
        let pairs: Vec<_> = (0..count).map(|index| (index * 3 + 1, 1)).collect();
        let data: Vec<u8> = (0..count)
            .map(|index| b'a' + u8::try_from(index % 26).unwrap())
            .collect();
        let len = count * 3 + 1;
        for (name, format) in FORMATS {
            let expected = format!("{} z=after", word(name, &expanded(&pairs, &data, len)));
            check_tars(&[layer(format(name, &pairs, &data, len))], &expected);
        }
    }
}

#[test]
fn invalid_maps_are_errors() {
    for (name, format) in FORMATS {
        for (pairs, len, reason) in [
            (&[(0, 10)][..], 9, "beyond"),
            (&[(5, 5), (0, 5)], 20, "order"),
            (&[(0, 6), (5, 4)], 20, "overlaps"),
            (&[(u64::MAX >> 1, 10)], 20, "beyond"),
            (&[(0, 9)], 20, "data"),
            (&[(0, 11)], 20, "data"),
        ] {
            check_tars(
                &[layer(format(name, pairs, &data(), len))],
                &format!("error: entry 1 sparse {reason}"),
            );
        }
    }
}

#[test]
fn unknown_formats_and_other_types_are_errors() {
    let file = |records: &[(&str, &str)]| {
        let entry = records.iter().fold(Entry::file("f", ""), |entry, (keyword, value)| {
            entry.pax(keyword, value)
        });
        archive(&[entry])
    };
    for (records, reason) in [
        (
            &[
                ("GNU.sparse.major", "2"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.realsize", "0"),
            ][..],
            "format",
        ),
        (&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")], "size"),
        (&[("GNU.sparse.map", "0,0,1"), ("GNU.sparse.size", "9")], "number"),
        (
            &[
                ("GNU.sparse.map", "0,0"),
                ("GNU.sparse.numblocks", "2"),
                ("GNU.sparse.size", "9"),
            ],
            "number",
        ),
        (&[("GNU.sparse.map", "0,-1"), ("GNU.sparse.size", "9")], "-1"),
        (&[("GNU.sparse.numbytes", "0"), ("GNU.sparse.offset", "0")], "alternate"),
    ] {
        check_tars(&[file(records)], &format!("error: entry 1 {reason}"));
    }
    let directory = Entry::directory("d")
        .pax("GNU.sparse.map", "0,0")
        .pax("GNU.sparse.size", "9");
    check_tars(&[archive(&[directory])], "error: entry 1 \"d\" regular");
    // star uses the same type for another format.
    check_tars(
        &[layer(Header::new(b'S', b"f", 0).seal().to_vec())],
        "error: entry 1 star",
    );
}

#[test]
fn a_map_that_does_not_end_is_an_error() {
    let map = |text: &str| {
        let entry = Entry::file("f", text)
            .pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0")
            .pax("GNU.sparse.realsize", "9");
        archive(&[entry])
    };
    check_tars(&[map("")], "error: entry 1 end");
    check_tars(&[map(&"1".repeat(512))], "error: entry 1 end");
    check_tars(&[map(&format!("2\n0\n{}", "1".repeat(2000)))], "error: entry 1 end");
    check_tars(
        &[map(&format!("1000000\n{}", "1\n".repeat(1_000_000)))],
        "error: entry 1 1048576",
    );
    check_tars(
        &[map(&format!("18446744073709551615\n{}", "1\n".repeat(254)))],
        "error: entry 1 map",
    );
}

/// 8 TiB of holes cost nothing, and 1 EiB is refused.
#[test]
fn holes_cost_nothing() {
    let huge = |len| layer(old_gnu("f", &[(len - 1, 1)], b"x", len));
    let mut rootfs = crate::layers::empty();
    rootfs
        .apply(&huge(1 << 43)[..], &layer::LayerOptions::default())
        .unwrap();
    let (image, summary) = rootfs.formatter.finish(rootfs.tree).unwrap();
    assert!(summary.used_bytes < 1 << 20 && image.len() < 2 << 20);
    let error = apply(&[huge(1 << 60)]).unwrap_err();
    assert!(
        crate::layers::message(&error).contains("a file of 1152921504606846976 bytes"),
        "{}",
        crate::layers::message(&error)
    );
}
