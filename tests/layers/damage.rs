//! Tests of tars that are cut off, corrupt, or not tars.

use std::io::BufReader;

use layer::LayerOptions;

use crate::layers::{apply, check_tars, empty, message, notation};
use support::tar::{BLOCK, Entry, Header, archive, extension, pax_body};

/// Returns a tar with every type of entry that the notation has, and a long name.
fn sample() -> Vec<u8> {
    let long = "long/".repeat(30);
    let words = format!("d/ d/f=text {long}g=more s->d h==d/f c!1:3 x=y(user.a=b,@1.5) .wh.gone");
    archive(&notation::entries(&words))
}

/// Returns the offset of the blocks of zeros at the end.
fn end(tar: &[u8]) -> usize {
    tar.len() - 2 * BLOCK
}

#[test]
fn an_empty_layer_changes_nothing() {
    check_tars(&[vec![]], "");
    check_tars(&[vec![0; 2 * BLOCK]], "");
    check_tars(&[vec![0; BLOCK]], "");
    check_tars(&[vec![0; 20 * BLOCK]], "");
}

#[test]
fn the_end_of_the_archive_may_be_missing() {
    let tar = sample();
    let expected = apply(std::slice::from_ref(&tar)).unwrap().0;
    for len in [end(&tar), end(&tar) + BLOCK] {
        assert_eq!(apply(&[tar[..len].to_vec()]).unwrap().0, expected);
    }
}

/// Go accepts a last entry without its padding, and so does containerd.
#[test]
fn the_last_padding_may_be_missing() {
    let file = Entry::file("f", "text").bytes();
    for len in BLOCK + 4..file.len() {
        check_tars(&[file[..len].to_vec()], "f=text");
    }
    for len in BLOCK..BLOCK + 4 {
        check_tars(&[file[..len].to_vec()], "error: entry 1 \"f\" truncated content");
    }
}

#[test]
fn a_truncated_layer_is_an_error_or_ends_between_entries() {
    let tar = sample();
    let mut complete = 0;
    for len in 1..end(&tar) {
        let mut rootfs = empty();
        match rootfs.apply(&tar[..len], &LayerOptions::default()) {
            Ok(summary) => complete = summary.entry_count,
            Err(error) => assert!(error.position.entry > complete, "{}", message(&error)),
        }
    }
}

#[test]
fn data_that_is_not_a_tar_is_an_error() {
    for layer in [
        &b"x"[..],
        b"{\"schemaVersion\": 2}",
        &[b'x'; 511],
        &[b'x'; 4096],
        b"#!/bin/sh\n",
    ] {
        check_tars(&[layer.to_vec()], "error: byte 0 not a tar archive gzip zstd");
    }
}

#[test]
fn damage_is_reported_with_its_entry_and_offset() {
    let tar = archive(&[Entry::file("a", "x"), Entry::file("b", "y")]);
    let mut damaged = tar.clone();
    damaged[2 * BLOCK] ^= 1;
    check_tars(&[damaged], "error: entry 2 byte 1024 checksum damaged");
    let zeros = [&tar[..2 * BLOCK], &[0; BLOCK], &tar[2 * BLOCK..]].concat();
    check_tars(&[zeros], "error: entry 2 byte 1024 zeros");
}

/// Concatenated archives: all readers except `tar --ignore-zeros` stop after the first.
#[test]
fn data_after_the_end_of_the_archive_is_reported_and_left_out() {
    let (a, b) = (archive(&[Entry::file("a", "x")]), archive(&[Entry::file("b", "y")]));
    for (tail, expected) in [
        (&[][..], false),
        (&[0; 10_000], false),
        (b"garbage", true),
        (&b[..], true),
    ] {
        let (tree, summaries) = apply(&[[&a[..], tail].concat()]).unwrap();
        assert_eq!(tree, ["a=x"]);
        assert_eq!(summaries[0].data_after_end, expected);
    }
}

/// Both digests can be checked only if the reader is empty afterwards.
#[test]
fn a_layer_is_read_to_its_very_end() {
    let tar = [archive(&[Entry::file("a", "x")]), vec![0; 200_000], b"garbage".to_vec()].concat();
    let mut rest = &tar[..];
    empty().apply(&mut rest, &LayerOptions::default()).unwrap();
    assert_eq!(rest, b"");
}

#[test]
fn an_error_of_the_reader_is_the_cause() {
    struct Broken<'a>(&'a [u8]);
    impl std::io::Read for Broken<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(std::io::Error::other("the line went dead")),
                len => Ok(len),
            }
        }
    }
    let tar = archive(&[Entry::file("a", [7; 3000])]);
    for len in [0, 100, 512, 1000, 3584, 4000, tar.len()] {
        let error = empty()
            .apply(BufReader::new(Broken(&tar[..len])), &LayerOptions::default())
            .unwrap_err();
        assert!(
            message(&error).ends_with("could not read the layer: the line went dead"),
            "{}",
            message(&error)
        );
    }
}

#[test]
fn extended_headers_need_an_entry() {
    let pax = extension(b'x', &pax_body(&[(b"uid".to_vec(), b"1".to_vec())]));
    check_tars(
        &[[pax.clone(), vec![0; 2 * BLOCK]].concat()],
        "error: entry 1 ends extended header",
    );
    check_tars(&[pax], "error: entry 1 ends extended header");
    check_tars(&[extension(b'L', b"name\0")], "error: entry 1 ends extended header");
}

/// The header has the length of the body. No memory is allocated for a body before its bytes
/// arrive.
#[test]
fn extended_headers_have_a_limit() {
    for flag in [b'x', b'g', b'L', b'K'] {
        for size in [(1 << 20) + 1, 1 << 40, i64::MAX as u64] {
            let header = Header::new(flag, b"f", size).seal();
            check_tars(&[header.to_vec()], &format!("error: entry 1 {size} 1048576"));
        }
        let header = Header::new(flag, b"f", 1 << 20).seal();
        check_tars(&[header.to_vec()], "error: entry 1 truncated 1048576");
    }
    let mut negative = Header::new(b'0', b"f", 0);
    negative.number(124..136, -1);
    check_tars(&[negative.seal().to_vec()], "error: entry 1 size -1");
}

#[test]
fn names_with_a_nul_are_errors() {
    for keyword in ["path", "linkpath"] {
        check_tars(
            &[archive(&[Entry::file("f", "").pax(keyword, "a\0b")])],
            "error: entry 1 NUL a\\0b",
        );
    }
    check_tars(
        &[archive(&[Entry::file("f", "").pax("SCHILY.xattr.user.\0", "x")])],
        "error: entry 1 \"f\" attribute",
    );
}

#[test]
fn messages_show_names_without_control_characters() {
    let error = apply(&[archive(&[Entry::hard_link("\u{1b}[31m\u{202e}", "\n\"")])]).unwrap_err();
    assert_eq!(
        message(&error),
        "entry 1 \"\\u{1b}[31m\\u{202e}\", at byte 0 of the tar: hard link to \"\\n\\\"\", which does not exist at this point"
    );
}

/// Changes each byte of a tar.
#[test]
fn no_changed_byte_leads_to_a_panic() {
    let tar = sample();
    for index in 0..end(&tar) {
        let is_flag = index % BLOCK == 156;
        for value in (0..=255).filter(|value| is_flag || [0, 0xff].contains(value)) {
            let mut changed = tar.clone();
            changed[index] = value;
            let _ = empty().apply(&changed[..], &LayerOptions::default());
            // A matching checksum lets the change reach the other checks.
            let start = index / BLOCK * BLOCK;
            let sealed = Header(changed[start..start + BLOCK].try_into().unwrap()).seal();
            changed[start..start + BLOCK].copy_from_slice(&sealed);
            let _ = empty().apply(&changed[..], &LayerOptions::default());
        }
    }
}
