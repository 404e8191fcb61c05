//! Target `diff`: comparison of two images.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, process};

use layer::cancel::Cancel;
use microagent::diff::{DiffOptions, Difference, diff};

use crate::image::without_checksums;

/// The sound image that every input is compared with.
const SOUND_IMAGE: &[u8] = include_bytes!("../seeds/image/own");

/// Compares the bytes with a sound image, with and without checksums and in both directions, and
/// with themselves.
pub fn run(bytes: &[u8]) {
    let bare = without_checksums(bytes);
    compare(bytes, SOUND_IMAGE);
    compare(&without_checksums(SOUND_IMAGE), &bare);
    compare(&bare, &without_checksums(SOUND_IMAGE));
    compare(bytes, &bare);
    compare(&bare, &bare);
}

fn compare(a: &[u8], b: &[u8]) {
    static FILES: OnceLock<[PathBuf; 2]> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        ["a", "b"].map(|side| env::temp_dir().join(format!("microagent-fuzz-diff-{}-{side}", process::id())))
    });
    for (path, bytes) in files.iter().zip([a, b]) {
        overwrite(path, bytes).expect("TMPDIR takes it");
    }
    let [left, right] = files;
    let mut count = 0_u64;
    let mut options = DiffOptions::default();
    options.list_moved_files = true;
    let result = diff(left, right, options, &Cancel::new(), &mut |difference| {
        count += 1;
        assert_printable(difference);
        Ok(())
    });
    if let Ok(same) = result {
        assert_eq!(same, a == b);
        assert_eq!(same, count == 0);
    }
}

/// Asserts that a terminal can show a difference, no matter what the images contain.
fn assert_printable(difference: &Difference) {
    for line in &difference.excerpt {
        assert!(line.starts_with(['-', '+', '@', ' ', '\\']), "{line:?}");
        assert!(
            !line.contains(|char: char| char.is_control() && char != '\t'),
            "{line:?}"
        );
    }
    for value in [&difference.a, &difference.b].into_iter().flatten() {
        assert!(!value.contains(char::is_control), "{value:?}");
    }
}

/// Writes a file without truncating it first: truncation would make the file system write the old
/// content to disk.
fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(false).open(path)?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)
}
