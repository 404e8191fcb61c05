//! Directory indexes with each hash that e2fsck knows.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::setup::{MIB, image_file};
use support::tools;

/// Names of hashes, by their number on disk.
const HASHES: [&str; 3] = ["legacy", "half_md4", "tea"];
/// Values of `s_flags`: the hash takes bytes of names as signed, or as unsigned.
const SIGNS: [u8; 2] = [1, 2];
/// Offset of `s_flags` in the image, in bytes.
const FLAGS: u64 = 1024 + 0x160;

/// Makes an image with a directory of 400 names, half of which are not ASCII.
fn make_image(image: &Path) {
    let tree = tempfile::tempdir().unwrap();
    let many = tree.path().join("many");
    fs::create_dir(&many).unwrap();
    for number in 0..400_u32 {
        let letter = if number % 2 == 0 { b'e' } else { 0xE9 };
        let len = usize::try_from(number % 60).unwrap();
        let name = [format!("{number}").as_bytes(), &vec![letter; len]].concat();
        fs::write(many.join(OsStr::from_bytes(&name)), b"").unwrap();
    }
    File::create(image).unwrap().set_len(8 * MIB).unwrap();
    let tree = tree.path().to_str().unwrap();
    let arguments = ["-q", "-F", "-b", "1024", "-O", "dir_index,^metadata_csum", "-d", tree];
    tools::stdout("mke2fs", &arguments, image);
}

/// Offset of the hash's number in the root of the index, in bytes.
fn version_at(image: &Path) -> u64 {
    let blocks = tools::stdout("debugfs", &["-R", "blocks /many"], image);
    let first: u64 = blocks.split_whitespace().next().unwrap().parse().unwrap();
    first * 1024 + 28
}

#[test]
fn an_index_is_valid_only_with_its_own_hash() {
    if tools::are_missing(&["e2fsck", "mke2fs", "tune2fs", "debugfs"]) {
        return;
    }
    let plain = image_file();
    make_image(&plain);
    let all: Vec<(u8, u8)> = (0..3).flat_map(|version| SIGNS.map(|sign| (version, sign))).collect();
    for &(version, sign) in &all {
        let hash = HASHES[usize::from(version)];
        let what = format!("{hash}, sign {sign}");
        let image = tools::copy_of(&plain);
        tools::stdout("tune2fs", &["-E", &format!("hash_alg={hash}")], &image);
        let file = File::options().read(true).write(true).open(&image).unwrap();
        file.write_all_at(&[sign], FLAGS).unwrap();
        let ordered = tools::run("e2fsck", &["-fyD"], &image);
        let is_ordered = ordered.status.code().is_some_and(|code| code <= 1);
        assert!(is_ordered, "{what}: {}", tools::text(&ordered));
        let at = version_at(&image);
        let mut found = [0];
        file.read_exact_at(&mut found, at).unwrap();
        assert_eq!(found, [version], "{what}");
        tools::assert_clean(&image, &what);
        for &other in all.iter().filter(|&&other| other != (version, sign)) {
            file.write_all_at(&[other.0], at).unwrap();
            file.write_all_at(&[other.1], FLAGS).unwrap();
            assert!(tools::e2fsck_errors(&image).is_some(), "{what}, as if {other:?}");
            let report = ext4::check(File::open(&image).unwrap()).unwrap();
            assert!(!report.is_clean(), "{what}, as if {other:?}");
        }
    }
}
