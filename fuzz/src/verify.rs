//! Target `verify`: the check of images.

use std::io::Cursor;

use ext4::Reader;

use crate::image::{read_tree, without_checksums};

/// Checks the bytes, with and without checksums, and asserts that a clean image can be read.
pub fn run(bytes: &[u8]) {
    check(bytes);
    check(&without_checksums(bytes));
}

fn check(bytes: &[u8]) {
    let Ok(report) = ext4::check(Cursor::new(bytes)) else {
        return;
    };
    if report.is_clean() {
        let reader = Reader::open(bytes).expect("it is clean");
        read_tree(&reader, |error| panic!("the check found nothing, the reader {error}"));
    }
}
