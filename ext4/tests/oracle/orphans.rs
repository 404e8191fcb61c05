//! Orphans: files that were open without a name, or were being truncated, at a power cut.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use tempfile::TempPath;

use crate::setup::{MIB, image_file};
use support::kernel::{self, Mount};
use support::tools;

/// An orphan list to write into an image.
struct OrphanList {
    name: &'static str,
    valid: bool,
    head: u32,
    /// Next inode in the entries of inodes 12, 13 and 14, which have no name.
    next: [u32; 3],
}

const LISTS: [OrphanList; 9] = [
    OrphanList::new("all three", true, 12, [13, 14, 0]),
    OrphanList::new("in another order", true, 14, [0, 12, 13]),
    OrphanList::new("in a circle", false, 12, [13, 14, 12]),
    OrphanList::new("the first twice", false, 12, [12, 14, 0]),
    OrphanList::new("the second twice", false, 12, [13, 14, 13]),
    OrphanList::new("only two", false, 12, [13, 0, 0]),
    OrphanList::new("one that is not in use", false, 12, [13, 14, 77]),
    OrphanList::new("one that is reserved", false, 12, [13, 14, 5]),
    OrphanList::new("one that cannot be", false, 99_999, [13, 14, 0]),
];

impl OrphanList {
    const fn new(name: &'static str, valid: bool, head: u32, next: [u32; 3]) -> Self {
        Self {
            name,
            valid,
            head,
            next,
        }
    }
}

/// Makes a file system of `mib` MiB with mke2fs.
fn make_with_mke2fs(mib: u64, features: &str, more: &[&str]) -> TempPath {
    let image = image_file();
    File::create(&image).unwrap().set_len(mib * MIB).unwrap();
    let arguments = [&["-q", "-F", "-t", "ext4", "-O", features], more].concat();
    tools::stdout("mke2fs", &arguments, &image);
    image
}

/// Makes an image of four files. Three lose their names, and the fourth is being truncated.
fn make_image(features: &str, list: &OrphanList) -> TempPath {
    let tree = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c", "d"] {
        fs::write(tree.path().join(name), name.repeat(5000)).unwrap();
    }
    let image = make_with_mke2fs(8, features, &["-b", "1024", "-d", tree.path().to_str().unwrap()]);
    let inodes = tools::stdout("debugfs", &["-R", "ls /"], &image);
    assert!(inodes.contains("12  (12) a") && inodes.contains("15  ("), "{inodes}");
    let [first, second, third] = list.next;
    for request in [
        "unlink /a",
        "unlink /b",
        "unlink /c",
        "sif <12> links_count 0",
        "sif <13> links_count 0",
        "sif <14> links_count 0",
        &format!("sif <12> dtime @{first}"),
        &format!("sif <13> dtime @{second}"),
        &format!("sif <14> dtime @{third}"),
        // The fourth file has a name. The list begins with it.
        &format!("sif <15> dtime @{}", list.head),
        "ssv last_orphan 15",
        "feature needs_recovery",
    ] {
        tools::stdout("debugfs", &["-w", "-R", request], &image);
    }
    image
}

/// Returns the output of a repair by e2fsck, without the lines that it prints for a valid list.
fn unexpected_repairs(image: &Path) -> Option<String> {
    let repaired = tools::copy_of(image);
    let output = tools::text(&tools::run("e2fsck", &["-fy"], &repaired));
    let unexpected: Vec<&str> = output
        .lines()
        .filter(|line| {
            let expected = [
                "e2fsck ",
                "Pass ",
                "Clearing orphaned inode ",
                "Truncating orphaned inode ",
            ];
            let expected = expected.iter().any(|prefix| line.starts_with(prefix));
            let expected_end = [" blocks", "recovering journal", "FILE SYSTEM WAS MODIFIED *****"];
            let expected_end = expected_end.iter().any(|end| line.ends_with(end));
            !line.is_empty() && !expected && !expected_end
        })
        .collect();
    (!unexpected.is_empty()).then(|| unexpected.join("\n"))
}

#[test]
fn a_damaged_orphan_list_is_found() {
    if tools::are_missing(&["e2fsck", "mke2fs", "debugfs"]) {
        return;
    }
    for features in ["^metadata_csum,^orphan_file", "metadata_csum,^orphan_file"] {
        for list in &LISTS {
            let image = make_image(features, list);
            let what = format!("{features}, {}", list.name);
            let unexpected = unexpected_repairs(&image);
            assert_eq!(unexpected.is_none(), list.valid, "{what}: {unexpected:?}");
            let report = ext4::check(File::open(&image).unwrap()).unwrap();
            assert_eq!(report.is_clean(), list.valid, "{what}: {report:#?}");
        }
    }
}

#[test]
fn files_open_without_a_name_at_a_power_cut_are_clean() {
    if tools::are_missing(&["e2fsck", "mke2fs"]) || kernel::cannot_mount() {
        return;
    }
    for features in ["^orphan_file", "orphan_file", "orphan_file,^metadata_csum"] {
        open_without_a_name(features);
    }
}

fn open_without_a_name(features: &str) {
    let image = make_with_mke2fs(16, features, &[]);
    let mount = Mount::new(&image);
    let open: Vec<File> = (0..5)
        .map(|number| {
            let path = mount.path().join(number.to_string());
            fs::write(&path, vec![number; 5000]).unwrap();
            let file = File::open(&path).unwrap();
            fs::remove_file(path).unwrap();
            file
        })
        .collect();
    mount.sync();
    let cut = tools::copy_of(&image);
    drop(open);
    mount.unmount();
    let repaired = tools::copy_of(&cut);
    let output = tools::text(&tools::run("e2fsck", &["-fy"], &repaired));
    assert_eq!(output.matches("Clearing orphaned inode").count(), 5, "{output}");
    tools::assert_clean(&repaired, "repaired");
    let report = ext4::check(File::open(&cut).unwrap()).unwrap();
    assert!(report.is_clean(), "{report:#?}");
}

/// Damage to an orphan file: a name, the offset in a block, and the bytes to write there.
const DAMAGE: [(&str, u64, &[u8]); 4] = [
    ("an entry", 0, &[14]),
    ("the last entry", 1012, &[14]),
    ("the magic number", 1016, &[0]),
    ("the checksum", 1020, &[0, 1, 2, 3]),
];

#[test]
fn a_damaged_orphan_file_is_found() {
    if tools::are_missing(&["e2fsck", "mke2fs", "debugfs"]) {
        return;
    }
    for features in ["orphan_file", "orphan_file,^metadata_csum"] {
        let image = make_with_mke2fs(8, features, &["-b", "1024"]);
        tools::assert_clean(&image, features);
        let blocks = tools::stdout("debugfs", &["-R", "blocks <12>"], &image);
        let blocks: Vec<u64> = blocks.split_whitespace().map(|block| block.parse().unwrap()).collect();
        let file = File::options().read(true).write(true).open(&image).unwrap();
        for &block in [blocks.first(), blocks.last()].into_iter().flatten() {
            for (what, at, bytes) in DAMAGE {
                // Without metadata checksums, this one is unused too.
                if what == "the checksum" && features.contains("^metadata_csum") {
                    continue;
                }
                let at = block * 1024 + at;
                let mut good = vec![0; bytes.len()];
                file.read_exact_at(&mut good, at).unwrap();
                file.write_all_at(bytes, at).unwrap();
                assert!(tools::e2fsck_errors(&image).is_some(), "{features}, {what}");
                let report = ext4::check(File::open(&image).unwrap()).unwrap();
                assert!(!report.is_clean(), "{features}, {what}");
                file.write_all_at(&good, at).unwrap();
            }
        }
    }
}
