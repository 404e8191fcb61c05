//! Snapshots of tiny images as text: the name and the bytes of every structure.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write;

use support::check;
use support::model::Build;
use support::samples::{put_every_kind, put_indexed_directory, tiny_options};

/// Formats the structures of an image, with offsets. Omits lines of zeros, and prints `*` for lines
/// that repeat the previous one.
fn dump(image: &[u8]) -> String {
    let mut text = format!("{} bytes\n", image.len());
    let mut last_name = String::new();
    for (range, name) in check::structures(image) {
        if name != last_name {
            writeln!(text, "\n{name}").unwrap();
        }
        last_name = name;
        let bytes = &image[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        let mut last = &[0; 16][..];
        let mut elided = false;
        for (offset, line) in (range.start..).step_by(16).zip(bytes.chunks(16)) {
            if line != last && line != [0; 16] {
                writeln!(text, "{}", dump_line(offset, line)).unwrap();
            } else if !elided && line != [0; 16] {
                text.push_str("*\n");
            }
            elided = line == last;
            last = line;
        }
    }
    text
}

/// Formats an offset, 16 bytes in hexadecimal, and their printable characters.
fn dump_line(offset: u64, line: &[u8]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let hex: Vec<String> = line.chunks(4).map(hex).collect();
    let printed = line.iter().map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    });
    format!("{offset:06x}  {}  {}", hex.join(" "), printed.collect::<String>())
}

#[test]
fn an_empty_file_system() {
    let (image, ..) = Build::new(Vec::new(), tiny_options(64)).unwrap().finish().unwrap();
    insta::assert_snapshot!(dump(&image));
}

#[test]
fn one_of_each_kind() {
    let mut build = Build::new(Vec::new(), tiny_options(96)).unwrap();
    put_every_kind(&mut build);
    let (image, ..) = build.finish().unwrap();
    insta::assert_snapshot!(dump(&image));
}

#[test]
fn an_indexed_directory() {
    let mut build = Build::new(Vec::new(), tiny_options(64)).unwrap();
    put_indexed_directory(&mut build);
    let (image, ..) = build.finish().unwrap();
    insta::assert_snapshot!(dump(&image));
}
