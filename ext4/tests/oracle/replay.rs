//! Journals after a power cut.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ext4::{BlockSize, Journal};

use crate::setup::{self, MIB, Setup, image_file};
use crate::shapes;
use support::kernel::{self, Mount};
use support::listing::listing;
use support::tools;

/// Copies an image while it is mounted, as a power cut would leave it: transactions are in its
/// journal only.
#[test]
fn a_journal_is_replayed_after_a_power_cut() {
    if tools::are_missing(&["e2fsck", "dumpe2fs"]) || kernel::cannot_mount() {
        return;
    }
    let setups = [
        Setup::small("default journal", |_| {}),
        Setup::small("1 KiB blocks", |options| options.block_size = BlockSize::Kib1),
        Setup::small("large journal", |options| options.journal = Journal::Bytes(40 * MIB)),
    ];
    for setup in setups {
        let image = image_file();
        let (_, model) = setup::build(&image, &setup, shapes::churn).unwrap();
        let mount = Mount::new(&image);
        kernel::exercise(&model, mount.path());
        fs::create_dir(mount.path().join("last")).unwrap();
        for number in 0..50 {
            fs::write(mount.path().join(format!("last/{number}")), [number; 3000]).unwrap();
        }
        // Synced data must survive. Only the journal is certain to contain it.
        mount.sync();
        let for_kernel = tools::copy_of(&image);
        let for_e2fsck = tools::copy_of(&image);
        mount.unmount();
        let features = tools::superblock_field(&for_kernel, "Filesystem features");
        assert!(features.contains("needs_recovery"), "nothing to replay: {features}");

        let mount = Mount::new(&for_kernel);
        for number in 0..50 {
            assert_eq!(
                fs::read(mount.path().join(format!("last/{number}"))).unwrap(),
                [number; 3000]
            );
        }
        mount.unmount();
        tools::assert_clean_after_use(&for_kernel, setup.name);

        let replayed = tools::run("e2fsck", &["-fy"], &for_e2fsck);
        assert!(
            tools::text(&replayed).contains("recovering journal"),
            "{}",
            tools::text(&replayed)
        );
        tools::assert_clean_after_use(&for_e2fsck, setup.name);
    }
}

/// Features of mke2fs that an [`ext4::Reader`] supports, with and without checksums.
const FEATURES: [&str; 6] = [
    "metadata_csum",
    "metadata_csum_seed",
    "^metadata_csum,uninit_bg",
    "^metadata_csum,^uninit_bg",
    "^metadata_csum,^64bit,uninit_bg",
    "^64bit,^extent,^flex_bg,^huge_file,^dir_nlink",
];

#[test]
fn the_reader_reads_what_the_kernel_wrote_with_and_without_checksums() {
    if tools::are_missing(&["mke2fs"]) || kernel::cannot_mount() {
        return;
    }
    for features in FEATURES {
        let image = image_file();
        File::create(&image).unwrap().set_len(64 * MIB).unwrap();
        let arguments = ["-q", "-F", "-t", "ext4", "-I", "256", "-b", "1024", "-O", features];
        tools::stdout("mke2fs", &arguments, &image);
        let mount = Mount::new(&image);
        let file = mount.path().join("file");
        // Blocks beyond the reach of a double-indirect block.
        fs::write(&file, vec![b'x'; 400 << 10]).unwrap();
        let long = File::create(mount.path().join("long")).unwrap();
        for block in [0, 11, 12, 267, 268, 300, 65_803, 65_804, 70_000] {
            long.write_all_at(&[b'y'; 1024], block * 1024).unwrap();
        }
        drop(long);
        for number in 0..500 {
            fs::hard_link(&file, mount.path().join(format!("{number:0>100}"))).unwrap();
        }
        let expected: Vec<u8> = fs::read(mount.path().join("long")).unwrap();
        mount.unmount();
        let lines = listing(&image);
        assert_eq!(lines.len(), 504, "{features}");
        let reader = ext4::Reader::open(File::open(&image).unwrap()).unwrap();
        let root = reader.root().unwrap();
        let entries = reader.read_dir(&root).unwrap();
        let long = entries.iter().find(|entry| *entry.name == *b"long").unwrap();
        let long = reader.inode(long.ino).unwrap();
        let mut content = vec![0; expected.len()];
        let mut data = 0;
        for range in reader.data(&long).unwrap() {
            let start = usize::try_from(range.start).unwrap();
            let len = usize::try_from(range.len).unwrap();
            reader.read_data(&range, 0, &mut content[start..start + len]).unwrap();
            data += range.len;
        }
        assert!(content == expected, "{features}");
        assert_eq!(data, 9 * 1024, "{features}");
    }
}

/// Features and mount options that cover all formats of a journal.
const JOURNALS: [(&str, &str); 6] = [
    ("has_journal", "noatime"),
    ("^metadata_csum", "noatime"),
    ("^metadata_csum", "journal_checksum"),
    ("^metadata_csum,^64bit", "data=journal"),
    ("metadata_csum_seed,ea_inode", "data=journal"),
    ("^64bit,^extent,^flex_bg", "noatime"),
];

/// Makes, changes and removes files until the journal wraps around, then fills the disk, so that
/// blocks of directories become file content.
fn fill_journal_and_disk(root: &Path) {
    for round in 0..40u8 {
        let directory = root.join(format!("round {round}"));
        fs::create_dir(&directory).unwrap();
        for number in 0..150usize {
            let name = format!("{number:0>100}");
            fs::write(directory.join(name), vec![round; number]).unwrap();
        }
        // These blocks begin with the magic number of the journal.
        let block = [&0xC03B_3998_u32.to_be_bytes()[..], &[round; 1020]].concat();
        fs::write(root.join(format!("like {round}")), block.repeat(200)).unwrap();
        kernel::sync(root);
        if round > 0 {
            fs::remove_dir_all(root.join(format!("round {}", round - 1))).unwrap();
            let file = File::options().write(true).open(root.join("like 0")).unwrap();
            file.write_all_at(&block, 7 * 1024).unwrap();
            fs::remove_file(root.join(format!("like {round}"))).unwrap();
        }
    }
    fs::remove_dir_all(root.join("round 39")).unwrap();
    kernel::sync(root);
    let mut rest = File::create(root.join("rest")).unwrap();
    while rest.write_all(&[b'r'; 1024]).is_ok() {}
    rest.sync_all().unwrap();
    kernel::sync(root);
}

#[test]
fn the_reader_sees_the_tree_that_e2fsck_replays() {
    if tools::are_missing(&["e2fsck", "dumpe2fs", "mke2fs"]) || kernel::cannot_mount() {
        return;
    }
    for (features, options) in JOURNALS {
        for block_size in ["1024", "4096"] {
            let what = format!("{features}, {options}, {block_size}");
            let image = image_file();
            File::create(&image).unwrap().set_len(20 * MIB).unwrap();
            let arguments = [
                "-q", "-F", "-t", "ext4", "-J", "size=4", "-b", block_size, "-O", features,
            ];
            tools::stdout("mke2fs", &arguments, &image);
            let mount = Mount::with_options(&image, options);
            fill_journal_and_disk(mount.path());
            let cut = tools::copy_of(&image);
            mount.unmount();
            let found = tools::superblock_field(&cut, "Filesystem features");
            assert!(found.contains("needs_recovery"), "{what}: nothing to replay: {found}");

            let read = listing(&cut);
            let replayed = tools::text(&tools::run("e2fsck", &["-fy"], &cut));
            assert!(replayed.contains("recovering journal"), "{what}: {replayed}");
            let expected = listing(&cut);
            assert_eq!(read.len(), expected.len(), "{what}");
            for (read, expected) in read.iter().zip(&expected) {
                assert_eq!(read, expected, "{what}");
            }
            assert!(read.iter().any(|line| line.starts_with("/like 0 file")), "{what}");
        }
    }
}

#[test]
fn a_damaged_backup_of_the_journal_map_is_found() {
    if tools::are_missing(&["e2fsck", "mke2fs"]) {
        return;
    }
    let image = image_file();
    File::create(&image).unwrap().set_len(20 * MIB).unwrap();
    let arguments = ["-q", "-F", "-t", "ext4", "-b", "1024", "-O", "^metadata_csum"];
    tools::stdout("mke2fs", &arguments, &image);
    tools::assert_clean(&image, "unchanged");
    let file = File::options().read(true).write(true).open(&image).unwrap();
    // All 60 bytes of `s_jnl_blocks`. e2fsck checks them only when it repairs.
    for at in (1024 + 0x10C..1024 + 0x10C + 60).step_by(7) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
        let repaired = tools::copy_of(&image);
        let output = tools::text(&tools::run("e2fsck", &["-fy"], &repaired));
        assert!(
            output.contains("Backing up journal inode block information"),
            "{at}: {output}"
        );
        tools::assert_clean(&repaired, "repaired");
        let report = ext4::check(File::open(&image).unwrap()).unwrap();
        assert_eq!(report.findings.len(), 1, "{at}: {report:#?}");
        file.write_all_at(&byte, at).unwrap();
    }
}
