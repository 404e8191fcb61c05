//! Quota files of e2fsprogs.

use std::fs::{self, File};
use std::os::unix::fs::chown;

use crate::setup::{MIB, image_file};
use support::tools;

#[test]
fn quota_files_of_many_owners_are_clean() {
    if tools::are_missing(&["mke2fs", "e2fsck"]) {
        return;
    }
    let tree = tempfile::tempdir().unwrap();
    for number in 0..300_u32 {
        let file = tree.path().join(number.to_string());
        fs::write(&file, b"of somebody").unwrap();
        // Some owners are in the same block of the tree, and some far apart. Only root can change
        // owners.
        let owner = number * 37 % 300 * if number.is_multiple_of(7) { 70_000 } else { 1 };
        if chown(&file, Some(owner), Some(number % 50)).is_err() {
            return;
        }
    }
    for block_size in ["1024", "4096"] {
        let image = image_file();
        File::create(&image).unwrap().set_len(64 * MIB).unwrap();
        let mut arguments = vec!["-q", "-F", "-t", "ext4", "-b", block_size, "-O", "quota,project", "-d"];
        arguments.push(tree.path().to_str().unwrap());
        tools::stdout("mke2fs", &arguments, &image);
        // Old versions of mke2fs count usage before they copy files, and old versions of e2fsck
        // count it before they allocate blocks for what they write.
        let is_counted = || tools::run("e2fsck", &["-fy"], &image).status.code() == Some(0);
        assert!((0..4).any(|_| is_counted()), "{block_size}");
        tools::assert_clean(&image, block_size);
    }
}
