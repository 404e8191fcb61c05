//! Tests of tars that the `tar` crate reads differently from the programs that make and apply
//! layers. Because of these differences, only its header is used here. A test that fails shows that
//! the crate has changed.

use std::io::Read;

use ::tar::Archive;

use crate::layers::check_tars;
use support::tar::{BLOCK, Entry, Header, archive, padded};

/// Returns names and contents as the crate reads them.
fn read(tar: &[u8]) -> Vec<(String, String)> {
    let mut archive = Archive::new(tar);
    let entries = archive.entries().unwrap();
    entries
        .map_while(Result::ok)
        .map(|mut entry| {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let mut content = Vec::new();
            let _ = entry.read_to_end(&mut content);
            (name, String::from_utf8_lossy(&content).into_owned())
        })
        .collect()
}

#[test]
fn tar_crate_ends_records_at_newlines() {
    let hidden = archive(&[Entry::file("f", "x").pax("SCHILY.xattr.user.a", "1\n15 path=shadow\nx")]);
    assert_eq!(read(&hidden)[0].0, "shadow");
    check_tars(&[hidden], "f=x(user.a=1\\x0a15\\x20path=shadow\\x0ax)");
}

#[test]
fn tar_crate_uses_the_first_of_duplicate_records() {
    let duplicate = archive(&[Entry::file("f", "x").pax("path", "a").pax("path", "b")]);
    assert_eq!(read(&duplicate)[0].0, "a");
    check_tars(&[duplicate], "b=x");
}

#[test]
fn tar_crate_does_not_expand_sparse_files_of_pax() {
    let map = padded(b"1\n2\n1\n");
    let sparse = Entry::file("GNUSparseFile.0/f", [&map[..], b"x"].concat())
        .pax("GNU.sparse.major", "1")
        .pax("GNU.sparse.minor", "0")
        .pax("GNU.sparse.name", "f")
        .pax("GNU.sparse.realsize", "3");
    let sparse = archive(&[sparse]);
    let (name, content) = &read(&sparse)[0];
    assert_eq!((name.as_str(), content.len()), ("GNUSparseFile.0/f", BLOCK + 1));
    check_tars(&[sparse], "f=\\x00\\x00x");
}

#[test]
fn tar_crate_reads_the_content_of_directories() {
    let directory = Header::new(b'5', b"d", 512).seal();
    let tar = [&directory[..], &archive(&[Entry::file("f", "x")])].concat();
    assert_eq!(read(&tar).len(), 1);
    check_tars(&[tar], "d/(644) f=x");
}

#[test]
fn tar_crate_accepts_truncated_files() {
    let tar = Entry::file("f", "xyz").bytes();
    let truncated = &tar[..BLOCK + 2];
    assert_eq!(read(truncated), [("f".to_owned(), "xy".to_owned())]);
    check_tars(&[truncated.to_vec()], "error: entry 1 truncated");
}
