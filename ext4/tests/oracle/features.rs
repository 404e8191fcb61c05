//! Features that images of this crate do not have: [`ext4::check()`] treats them as e2fsck does.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ext4::{BlockSize, InodeFeature, Problem};

use crate::setup::{self, MIB, Setup, image_file};
use support::tools;

/// Makes an image with features of mke2fs: a file of 20,000 bytes, a directory `few` with two
/// directories, and `many` with 300 directories and an index.
fn make_with_mke2fs(features: &str) -> tempfile::TempPath {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("file"), vec![b'x'; 20_000]).unwrap();
    fs::create_dir_all(tree.path().join("few/one")).unwrap();
    fs::create_dir(tree.path().join("few/other")).unwrap();
    for number in 0..300 {
        fs::create_dir_all(tree.path().join(format!("many/{number}"))).unwrap();
    }
    let image = image_file();
    File::create(&image).unwrap().set_len(32 * MIB).unwrap();
    let root = tree.path().to_str().unwrap();
    let arguments = ["-q", "-F", "-t", "ext4", "-b", "1024", "-O", features, "-d", root];
    tools::stdout("mke2fs", &arguments, &image);
    // Adds the index, which mke2fs does not make.
    let ordered = tools::run("e2fsck", &["-fyD"], &image);
    assert!(
        ordered.status.code().is_some_and(|code| code <= 1),
        "{}",
        tools::text(&ordered)
    );
    image
}

/// Makes such an image with `mmp`. The feature is added last, since programs wait ten seconds
/// before they write to an image that has it.
fn make_with_mmp(features: &str) -> tempfile::TempPath {
    let image = make_with_mke2fs(features);
    tools::stdout("tune2fs", &["-O", "mmp"], &image);
    image
}

/// Sets a field of an inode.
fn set_inode_field(image: &Path, name: &str, field: &str, value: &str) {
    let request = format!("set_inode_field {name} {field} {value}");
    tools::stdout("debugfs", &["-w", "-R", &request], image);
}

/// Asserts that e2fsck and [`ext4::check()`] both find a problem.
fn assert_faulty(image: &Path, what: &str) {
    assert!(tools::e2fsck_errors(image).is_some(), "{what}");
    let report = ext4::check(File::open(image).unwrap()).unwrap();
    assert!(!report.is_clean(), "{what}");
}

/// Asserts that both find a problem, or that neither does.
fn assert_agreed(image: &Path, faulty: bool, what: &str) {
    if faulty {
        assert_faulty(image, what);
    } else {
        tools::assert_clean(image, what);
    }
}

#[test]
fn an_image_with_an_mmp_block_is_clean() {
    if tools::are_missing(&["e2fsck", "mke2fs", "tune2fs"]) {
        return;
    }
    for features in ["metadata_csum", "^metadata_csum"] {
        tools::assert_clean(&make_with_mmp(features), features);
    }
}

#[test]
fn verity_hashes_may_follow_the_end_of_a_file() {
    if tools::are_missing(&["e2fsck", "mke2fs", "debugfs"]) {
        return;
    }
    let image = make_with_mke2fs("verity");
    set_inode_field(&image, "file", "size", "100");
    assert_faulty(&image, "too short");
    // `EXT4_VERITY_FL | EXT4_EXTENTS_FL`
    set_inode_field(&image, "file", "flags", "0x180000");
    tools::assert_clean(&image, "with hashes");
}

#[test]
fn an_indexed_directory_may_have_a_link_count_of_1() {
    if tools::are_missing(&["e2fsck", "mke2fs", "debugfs"]) {
        return;
    }
    let image = make_with_mke2fs("dir_nlink");
    set_inode_field(&image, "many", "links_count", "1");
    tools::assert_clean(&image, "with an index");
    set_inode_field(&image, "many", "links_count", "2");
    assert_faulty(&image, "two links");
    let image = make_with_mke2fs("dir_nlink");
    set_inode_field(&image, "few", "links_count", "1");
    assert_faulty(&image, "without an index");
}

#[test]
fn a_directory_of_65_001_directories_needs_dir_nlink_and_a_link_count_of_1() {
    if tools::are_missing(&["e2fsck", "debugfs"]) {
        return;
    }
    let setup = Setup::small("65,001 directories", |options| options.block_size = BlockSize::Kib1);
    let image = image_file();
    setup::build(&image, &setup, |build, _| {
        build.add_directory("many");
        for number in 0..65_001 {
            build.add_directory(format!("many/{number}"));
        }
    })
    .unwrap();
    tools::assert_clean(&image, setup.name);
    set_inode_field(&image, "many", "links_count", "65003");
    assert_faulty(&image, "counted");
    set_inode_field(&image, "many", "links_count", "1");
    tools::stdout("debugfs", &["-w", "-R", "feature ^dir_nlink"], &image);
    assert_faulty(&image, "without the feature");
}

#[test]
fn empty_directory_blocks_of_64_kib_are_clean() {
    if tools::are_missing(&["e2fsck", "mke2fs", "debugfs"]) {
        return;
    }
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir(tree.path().join("emptied")).unwrap();
    let names: Vec<String> = (0..5000).map(|number| format!("{number:0>250}")).collect();
    for name in &names {
        fs::write(tree.path().join("emptied").join(name), b"").unwrap();
    }
    let image = image_file();
    File::create(&image).unwrap().set_len(64 * MIB).unwrap();
    let root = tree.path().to_str().unwrap();
    let features = "^metadata_csum,^has_journal,^resize_inode";
    let arguments = [
        "-q", "-F", "-t", "ext4", "-b", "65536", "-N", "6000", "-O", features, "-d", root,
    ];
    tools::stdout("mke2fs", &arguments, &image);
    let removed: Vec<String> = names.iter().map(|name| format!("rm /emptied/{name}\n")).collect();
    let script = tree.path().join("script");
    fs::write(&script, removed.concat()).unwrap();
    tools::stdout("debugfs", &["-w", "-f", script.to_str().unwrap()], &image);
    let blocks = tools::stdout("debugfs", &["-R", "blocks /emptied"], &image);
    assert!(blocks.split_whitespace().count() >= 20, "{blocks}");
    tools::assert_clean(&image, "emptied");
}

#[test]
fn the_mmp_block_has_a_checksum() {
    if tools::are_missing(&["e2fsck", "mke2fs", "tune2fs"]) {
        return;
    }
    for (features, has_checksum) in [
        ("metadata_csum", true),
        ("metadata_csum_seed", true),
        ("^metadata_csum", false),
    ] {
        let image = make_with_mmp(features);
        // In the host name, and in the checksum.
        for within in [20, 1023] {
            let copy = tools::copy_of(&image);
            change_byte(&copy, mmp_block(&copy) * 1024 + within, |byte| byte ^ 1);
            assert_agreed(&copy, has_checksum, features);
        }
    }
}

#[test]
fn an_invalid_mmp_sequence_number_is_found() {
    if tools::are_missing(&["e2fsck", "mke2fs", "tune2fs"]) {
        return;
    }
    let image = make_with_mmp("^metadata_csum");
    let number = mmp_block(&image) * 1024 + 4;
    // `mmp_seq` is `EXT4_MMP_SEQ_CLEAN`, 0xFF4D4D50. One less is invalid. With 0xE2 as its top
    // byte, it is `EXT4_MMP_SEQ_FSCK`.
    change_byte(&image, number, |byte| byte - 1);
    assert_faulty(&image, "unknown");
    change_byte(&image, number, |byte| byte + 1);
    change_byte(&image, number + 3, |_| 0xE2);
    assert_faulty(&image, "e2fsck");
}

/// Number of the MMP block.
fn mmp_block(image: &Path) -> u64 {
    tools::superblock_field(image, "MMP block number").parse().unwrap()
}

fn change_byte(image: &Path, at: u64, to: impl Fn(u8) -> u8) {
    let file = File::options().read(true).write(true).open(image).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[to(byte[0])], at).unwrap();
}

/// Makes an image with a file of `size` bytes, which are a hole, and one with an attribute of
/// `attribute` bytes.
fn make_with_large_file(features: &str, size: u64, attribute: usize) -> tempfile::TempPath {
    let tree = tempfile::tempdir().unwrap();
    File::create(tree.path().join("large")).unwrap().set_len(size).unwrap();
    fs::write(tree.path().join("file"), [b'x'; 100]).unwrap();
    let value = "x".repeat(attribute);
    let file = tree.path().join("file");
    rustix::fs::setxattr(&file, "user.large", value.as_bytes(), rustix::fs::XattrFlags::empty()).unwrap();
    let image = image_file();
    File::create(&image).unwrap().set_len(64 * MIB).unwrap();
    let root = tree.path().to_str().unwrap();
    let arguments = ["-q", "-F", "-t", "ext4", "-b", "4096", "-O", features, "-d", root];
    tools::stdout("mke2fs", &arguments, &image);
    image
}

/// Asserts that a clean image becomes faulty without a feature, or stays clean if that is not
/// needed.
fn assert_feature_needed(image: &Path, feature: &str, needed: bool, what: &str) {
    tools::assert_clean(image, what);
    tools::stdout("debugfs", &["-w", "-R", &format!("feature ^{feature}")], image);
    assert_agreed(image, needed, what);
}

#[test]
fn a_file_of_2_gibibytes_needs_large_file() {
    if tools::are_missing(&["e2fsck", "mke2fs", "debugfs"]) {
        return;
    }
    // The resize inode counts as a large file.
    for (features, size, is_large) in [
        ("^resize_inode", 1 << 31, true),
        ("^resize_inode", (1 << 31) - 1, false),
        ("^resize_inode,^extent,^64bit", 1 << 31, true),
        ("resize_inode", 0, true),
    ] {
        let image = make_with_large_file(features, size, 0);
        assert_feature_needed(&image, "large_file", is_large, features);
    }
}

#[test]
fn an_attribute_block_needs_ext_attr() {
    if tools::are_missing(&["e2fsck", "mke2fs", "debugfs"]) {
        return;
    }
    for (attribute, has_block) in [(20, false), (700, true)] {
        let image = make_with_large_file("^resize_inode", 0, attribute);
        assert_feature_needed(&image, "ext_attr", has_block, &format!("{attribute} bytes"));
    }
}

#[test]
fn a_directory_of_4_gibibytes_needs_large_dir() {
    if tools::are_missing(&["e2fsck", "mke2fs", "debugfs"]) {
        return;
    }
    // The directory has no blocks at that size, which is another problem for both.
    for (features, is_missing) in [("^large_dir", true), ("large_dir", false)] {
        let image = make_with_mke2fs(features);
        set_inode_field(&image, "few", "size", "0x100000400");
        let theirs = tools::e2fsck_errors(&image).unwrap();
        assert_eq!(theirs.contains("i_size_high for inode"), is_missing, "{theirs}");
        let report = ext4::check(File::open(&image).unwrap()).unwrap();
        let needs = InodeFeature::LargeDirectory { size: 0x1_0000_0400 };
        let is_found = report
            .findings
            .iter()
            .any(|finding| finding.problem == Problem::FeatureMissing { needs });
        assert_eq!(is_found, is_missing, "{report:#?}");
    }
}

#[test]
fn the_hash_of_inline_data_is_zero_or_correct() {
    if tools::are_missing(&["e2fsck", "mke2fs"]) {
        return;
    }
    let image = make_with_large_file("inline_data,^metadata_csum", 0, 0);
    tools::assert_clean(&image, "no hash");
    let bytes = fs::read(&image).unwrap();
    // The attribute's name follows its hash.
    let name = bytes.windows(8).position(|bytes| bytes == b"data\0\0\0\0");
    let hash = name.unwrap() as u64 - 4;
    change_byte(&image, hash, |_| 1);
    assert_faulty(&image, "a wrong hash");
}
