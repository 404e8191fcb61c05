//! Damage of every kind: [`ext4::check()`] reports it, quickly and without a panic.

use std::io::Cursor;
use std::time::{Duration, Instant};

use ext4::{
    BlockSize, CheckReport, Directory, Finding, Formatter, InodeId, Inodes, Journal, Kind, Metadata, Options, Problem,
    ReadError, Reader, Severity, Size, Structure, StructureKind, Tree, check,
};

/// Makes an image with every kind of structure.
fn image(inline_data: bool) -> Vec<u8> {
    let options = Options {
        size: Size::Fixed(3 << 20),
        block_size: BlockSize::Kib1,
        journal: if inline_data {
            Journal::None
        } else {
            Journal::Bytes(1 << 20)
        },
        large_xattrs: true,
        inline_data,
        ..Options::new([7; 16])
    };
    let mut formatter = Formatter::new(Vec::new(), options).expect("3 MiB are a file system");
    let mut tree = Tree::default();
    let ranges: Vec<_> = (0..40).map(|number| number * 4096..number * 4096 + 10).collect();
    let data = formatter
        .write_sparse(&[b'x'; 400][..], 1 << 20, &ranges)
        .expect("there is room");
    let mut metadata = Metadata::default();
    metadata.xattrs.set(b"user.large", &[b'x'; 3000]).expect("a good name");
    metadata.xattrs.set(b"user.medium", &[b'x'; 400]).expect("a good name");
    let file = tree
        .insert(InodeId::ROOT, b"file", metadata.clone(), Kind::File(data))
        .expect("a new name");
    for number in 0..60 {
        let name = format!("a longer name, number {number:03}");
        tree.link(InodeId::ROOT, name.as_bytes(), file).expect("a new name");
    }
    let kind = Kind::Directory(Directory::new());
    let directory = tree
        .insert(InodeId::ROOT, b"directory", metadata, kind)
        .expect("a new name");
    for (name, len) in [("fast", 20), ("slow", 100)] {
        let kind = Kind::Symlink(vec![b't'; len].into());
        tree.insert(directory, name.as_bytes(), Metadata::default(), kind)
            .expect("a new name");
    }
    formatter.finish(tree).expect("3 MiB hold it").0
}

/// Turns off checksums, so that the check looks at damaged structures and does not only report
/// their checksum.
fn without_checksums(mut image: Vec<u8>) -> Vec<u8> {
    image[1024 + 0x65] &= !4;
    image
}

/// Offset of the root's inode: the first with four links.
fn root_offset(image: &[u8]) -> usize {
    let reader = Reader::open(Cursor::new(image)).expect("it is an image");
    assert_eq!(reader.root().expect("there is a root").links, 4);
    let is_root = |at: &usize| image[at + 0x1A..at + 0x1C] == [4, 0] && image[at + 1] & 0xF0 == 0x40;
    (0..image.len()).step_by(256).find(is_root).expect("the root")
}

/// Offset of the journal's superblock: the only block with the journal's magic number and a
/// version.
fn journal_offset(image: &[u8]) -> usize {
    let is_journal = |at: &usize| image[*at..at + 8] == [0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 4];
    (0..image.len()).step_by(1024).find(is_journal).expect("the journal")
}

fn findings(image: &[u8]) -> Vec<Finding> {
    check_distinct(image).expect("it is a file system").findings
}

/// Checks an image, and asserts that no finding is repeated.
fn check_distinct(image: &[u8]) -> Result<CheckReport, ReadError> {
    let report = check(Cursor::new(image))?;
    support::check::assert_distinct(&report);
    Ok(report)
}

/// Returns whether the check finds a problem in a structure.
fn has(image: &[u8], structure: Structure, problem: &Problem) -> bool {
    let mut findings = findings(image).into_iter();
    findings.any(|finding| finding.structure == structure && finding.problem == *problem)
}

/// Returns the problems of an image that another image does not have.
fn new_problems(old: &[u8], image: &[u8]) -> Vec<Problem> {
    let [old, new] = [old, image].map(findings);
    let new = new.into_iter().filter(|finding| !old.contains(finding));
    new.map(|finding| finding.problem).collect()
}

fn is_clean(image: &[u8]) -> bool {
    check_distinct(image).expect("it is a file system").is_clean()
}

#[test]
fn images_of_the_formatter_are_clean() {
    assert!(is_clean(&image(false)));
    assert!(is_clean(&image(true)));
}

#[test]
fn a_zero_uuid_is_clean() {
    let formatter = Formatter::new(Vec::new(), Options::new([0; 16])).expect("any UUID will do");
    let (image, _) = formatter.finish(Tree::default()).expect("there is room");
    assert!(is_clean(&image));
}

#[test]
fn a_finding_names_its_structure_and_its_problem() {
    let mut image = image(false);
    let at = root_offset(&image);
    image[at + 0x1A] = 5;
    let report = check_distinct(&image).expect("it is a file system");
    let messages: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "inode 2: its checksum is wrong",
            "inode 2: the link count is 5, should be 4"
        ]
    );
    assert_eq!(report.more, 0);
    for (finding, problem, code) in [
        (&report.findings[0], Problem::ChecksumWrong, "checksum-wrong"),
        (
            &report.findings[1],
            Problem::LinkCountWrong { found: 5, expected: 4 },
            "link-count-wrong",
        ),
    ] {
        assert_eq!(finding.structure, Structure::Inode { ino: 2 });
        assert_eq!(finding.structure.kind(), StructureKind::Inode);
        assert_eq!(finding.problem, problem);
        assert_eq!(finding.problem.code(), code);
        assert_eq!(finding.severity(), Severity::Error);
    }
}

#[test]
fn damage_that_affects_no_file_is_a_warning() {
    let options = Options {
        size: Size::Fixed(20 << 20),
        block_size: BlockSize::Kib1,
        ..Options::new([7; 16])
    };
    let formatter = Formatter::new(Vec::new(), options).expect("20 MiB are a file system");
    let (image, _) = formatter.finish(Tree::default()).expect("there is room");
    // `s_free_blocks_count` and `s_blocks_count` of the superblock, and of its backup in group 1.
    for (superblock, field, code, severity) in [
        (1024, 0xC, "free-blocks-wrong", Severity::Warning),
        (1024, 4, "block-count-beyond-image", Severity::Error),
        (8193 * 1024, 4, "checksum-wrong", Severity::Warning),
    ] {
        let mut image = image.clone();
        image[superblock + field] ^= 1;
        if superblock == 1024 {
            image = without_checksums(image);
        }
        let findings = findings(&image);
        let found = findings.iter().find(|finding| finding.problem.code() == code);
        assert_eq!(found.map(Finding::severity), Some(severity), "{code}: {findings:?}");
    }
}

#[test]
fn structure_kinds_have_the_order_of_structures() {
    let structures = [
        Structure::Superblock,
        Structure::SuperblockBackup { group: 9 },
        Structure::BlockBitmap { group: 1 },
        Structure::Inode { ino: 8 },
        Structure::Inode { ino: 9 },
        Structure::DirectoryBlock { ino: 2, block: 7 },
        Structure::JournalBlock { block: 1 },
    ];
    assert!(structures.is_sorted());
    assert!(structures.is_sorted_by_key(Structure::kind));
    let names = structures.map(|structure| structure.kind().name());
    let expected = "superblock superblock_backup block_bitmap inode inode directory_block journal_block";
    assert_eq!(names.join(" "), expected);
    assert_eq!(StructureKind::SuperblockBackup.to_string(), "superblock backup");
}

#[test]
fn a_directory_extent_at_the_last_logical_block_is_a_finding() {
    let mut image = without_checksums(image(false));
    // `ee_block` and `ee_len` of its first extent.
    let at = root_offset(&image) + 0x28 + 12;
    image[at..at + 4].fill(0xFF);
    image[at + 4..at + 6].copy_from_slice(&[1, 0]);
    assert!(!is_clean(&image));
}

#[test]
fn no_value_in_the_superblock_makes_the_check_slow() {
    let good = without_checksums(image(false));
    for at in (1024..1024 + 0x68).step_by(4) {
        for number in [u32::MAX, 1 << 31, 0] {
            let mut image = good.clone();
            image[at..at + 4].copy_from_slice(&number.to_le_bytes());
            let begun = Instant::now();
            // Other tests check which values are refused.
            let _ = check_distinct(&image);
            let took = begun.elapsed();
            assert!(
                took < Duration::from_secs(10),
                "{:#x} as {number:#x}: {took:?}",
                at - 1024
            );
        }
    }
}

#[test]
fn a_superblock_without_a_journal_must_not_name_one() {
    // `s_journal_uuid`, `s_journal_inum`
    for (at, problem) in [
        (0xD8, Problem::JournalDeviceUnexpected),
        (0xE0, Problem::JournalInodeUnexpected { ino: 5 }),
    ] {
        let mut image = image(true);
        image[1024 + at] = 5;
        assert!(has(&image, Structure::Superblock, &problem), "{at:#x}");
    }
}

#[test]
fn a_shared_journal_is_a_finding() {
    let mut image = without_checksums(image(false));
    let at = journal_offset(&image);
    let shared = Problem::JournalShared { users: 2 };
    assert!(!has(&image, Structure::Journal, &shared));
    // `s_nr_users`
    image[at + 0x40..at + 0x44].copy_from_slice(&2_u32.to_be_bytes());
    assert!(has(&image, Structure::Journal, &shared));
}

#[test]
fn a_journal_error_keeps_its_sign() {
    let mut image = without_checksums(image(false));
    let at = journal_offset(&image);
    // `s_errno`: `-EIO`
    image[at + 0x20..at + 0x24].copy_from_slice(&(-5_i32).to_be_bytes());
    assert!(has(&image, Structure::Journal, &Problem::JournalError { errno: -5 }));
}

#[test]
fn a_dot_entry_may_have_no_type_but_not_a_wrong_one() {
    let good = without_checksums(image(false));
    let start = b"\x02\0\0\0\x0c\0\x01\x02.\0\0\0\x02\0\0\0";
    let at = good.windows(start.len()).position(|bytes| bytes == start);
    let at = at.expect("the entries of the root");
    for (entry, name) in [(at, &b"."[..]), (at + 12, b"..")] {
        let mut image = good.clone();
        image[entry + 7] = 0;
        assert_eq!(new_problems(&good, &image), []);
        image[entry + 7] = 1;
        let name = name.into();
        assert_eq!(new_problems(&good, &image), [Problem::DotTypeWrong { name, found: 1 }]);
    }
}

#[test]
fn attributes_that_no_system_call_shows_are_clean() {
    let good = without_checksums(image(false));
    let mut image = good.clone();
    let entry = image.windows(6).position(|name| name == b"medium").expect("the name") - 16;
    for index in [5, 8, 9, 10, 11] {
        // `e_name_index`
        image[entry + 1] = index;
        assert_eq!(new_problems(&good, &image), [], "{index}");
        let reader = Reader::open(Cursor::new(&image)).expect("it is an image");
        let root = reader.root().expect("there is a root");
        let entries = reader.read_dir(&root).expect("a good directory");
        let file = entries.iter().find(|entry| *entry.name == *b"file").expect("the file");
        let file = reader.inode(file.ino).expect("a good inode");
        let xattrs = reader.xattrs(&file).expect("good attributes");
        let names: Vec<_> = xattrs.iter().map(|(name, _)| name).collect();
        assert_eq!(names, [b"user.large"], "{index}");
    }
    image[entry + 1] = 12;
    let name = b"medium"[..].into();
    let wrong = Problem::XattrNameWrong { name, namespace: 12 };
    assert_eq!(new_problems(&good, &image), [wrong]);
}

#[test]
fn bitmap_bits_after_the_last_block_of_a_group_must_be_set() {
    for (block_size, len) in [(BlockSize::Kib64, 16 << 20), (BlockSize::Kib1, 3 << 20)] {
        let options = Options {
            size: Size::Fixed(len),
            block_size,
            journal: Journal::None,
            ..Options::new([7; 16])
        };
        let formatter = Formatter::new(Vec::new(), options).expect("a file system");
        let (mut image, _) = formatter.finish(Tree::default()).expect("there is room");
        assert!(is_clean(&image));
        let groups = Reader::open(Cursor::new(&image)).and_then(|reader| reader.groups());
        let bitmap = groups.expect("it is an image")[0].block_bitmap;
        let block = usize::try_from(bitmap.get()).expect("a small image");
        let block_len = block_size.bytes() as usize;
        // A group of 64 KiB blocks ends long before the last byte of its bitmap.
        image[(block + 1) * block_len - 1] = 0x7F;
        let image = without_checksums(image);
        assert!(has(
            &image,
            Structure::BlockBitmap { group: 0 },
            &Problem::BitmapPaddingWrong
        ));
    }
}

#[test]
fn the_last_group_must_have_a_written_block_bitmap() {
    let good = without_checksums(image(false));
    let mut image = good.clone();
    // `bg_flags` of the only descriptor: `EXT4_BG_BLOCK_UNINIT`
    image[2048 + 0x12] |= 2;
    assert_eq!(new_problems(&good, &image)[0], Problem::LastGroupUninit);
}

#[test]
fn reserved_inodes_without_a_mode_are_unused_except_those_of_quota_files() {
    let good = without_checksums(image(false));
    let first = root_offset(&good) - 256;
    for (ino, valid) in [(3, false), (4, false), (9, true), (10, true)] {
        let mut image = good.clone();
        // `i_links_count`, `i_dtime`
        image[first + (ino - 1) * 256 + 0x1A] = 1;
        image[first + (ino - 1) * 256 + 0x14 + 3] = 0x7F;
        assert_eq!(new_problems(&good, &image).is_empty(), valid, "{ino}");
    }
}

#[test]
fn the_bad_blocks_inode_must_not_look_like_a_file() {
    let looks_like_one = |image: &[u8]| has(image, Structure::Inode { ino: 1 }, &Problem::BadBlocksInodeWrong);
    let good = without_checksums(image(false));
    assert!(!looks_like_one(&good));
    let first = root_offset(&good) - 256;
    // `i_mode`, `i_uid`, `i_gid`, `i_links_count`, `EXT4_INLINE_DATA_FL`, `i_file_acl`
    for (at, bits) in [(0, 1), (2, 1), (0x18, 1), (0x1A, 1), (0x23, 0x10), (0x68, 1)] {
        let mut image = good.clone();
        image[first + at] = bits;
        assert!(looks_like_one(&image), "{at:#x}");
    }
}

#[test]
fn invalid_inode_sizes_are_refused() {
    let good = image(false);
    for size in (0..=200_u16).chain([254, 255, 257, 512 + 128, 1 << 11, u16::MAX]) {
        let mut image = good.clone();
        // `s_inode_size`
        image[1024 + 0x58..1024 + 0x5A].copy_from_slice(&size.to_le_bytes());
        assert!(!is_clean(&image), "{size}");
        let valid = size == 128;
        let image = without_checksums(image);
        assert_eq!(Reader::open(Cursor::new(&image)).is_ok(), valid, "{size}");
    }
}

#[test]
fn at_most_1000_findings_are_listed() {
    let mut image = without_checksums(image(false));
    let len = image.len();
    image[2048..len].fill(0xA5);
    let report = check_distinct(&image).expect("it is a file system");
    assert!(report.findings.len() <= 1000 && !report.is_clean());
}

#[test]
fn a_truncated_image_is_a_finding_and_not_an_error() {
    let image = image(false);
    for len in [2048, 3000, 4096, 10_000, 100_000, image.len() - 1] {
        assert!(!is_clean(&image[..len]), "{len}");
    }
    for len in [0, 1024, 2047] {
        let result = check_distinct(&image[..len]);
        assert!(matches!(result, Err(ReadError::NotExt4)), "{len}: {result:?}");
    }
}

#[test]
fn a_damaged_descriptor_is_reported_once() {
    let options = Options {
        size: Size::Fixed(16 << 20),
        ..Options::new([7; 16])
    };
    let formatter = Formatter::new(Vec::new(), options).expect("16 MiB are a file system");
    let (mut image, _) = formatter.finish(Tree::default()).expect("there is room");
    // The descriptor's checksum. The check reads the descriptor twice: to find the journal, and
    // with all groups.
    image[4096 + 30] ^= 1;
    let messages: Vec<_> = findings(&image).iter().map(ToString::to_string).collect();
    assert_eq!(messages, ["the descriptor of group 0: its checksum is wrong"]);
}

#[test]
fn a_damaged_byte_is_reported_once() {
    let good = image(false);
    let mut image = good.clone();
    let bytes = (1024..good.len()).filter(|&at| good[at] != 0 && good[at] != b'x');
    let mut found = 0;
    for at in bytes.step_by(17) {
        image[at] ^= 0x11;
        found += u32::from(check_distinct(&image).map_or(true, |report| !report.is_clean()));
        image[at] = good[at];
    }
    assert!(found > 100, "{found}");
}

#[test]
fn no_damage_causes_a_panic() {
    let mut seed = 1_u64;
    let mut random = |end: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits") % end
    };
    for inline_data in [false, true] {
        let good = without_checksums(image(inline_data));
        let offsets: Vec<_> = (1024..good.len())
            .filter(|&at| good[at] != 0 && good[at] != b'x')
            .collect();
        let mut image = good.clone();
        let mut found = 0;
        for _ in 0..400 {
            let damaged: Vec<_> = (0..=random(8)).map(|_| offsets[random(offsets.len())]).collect();
            for &at in &damaged {
                image[at] = [0, 1, 0xFF, 0x80, image[at] ^ 1 << random(8)][random(5)];
            }
            found += u32::from(check_distinct(&image).map_or(true, |report| !report.is_clean()));
            for at in damaged {
                image[at] = good[at];
            }
        }
        assert!(found > 100, "{found}");
    }
}

/// Makes an image with a directory of more than 40 blocks and 400 names. Returns the offsets of its
/// leaf blocks, too.
fn with_a_large_directory() -> (Vec<u8>, Vec<usize>) {
    let options = Options {
        size: Size::Fixed(3 << 20),
        block_size: BlockSize::Kib1,
        inodes: Inodes::AtLeast(500),
        journal: Journal::None,
        ..Options::new([7; 16])
    };
    let formatter = Formatter::new(Vec::new(), options).expect("3 MiB are a file system");
    let mut tree = Tree::default();
    for number in 0..400 {
        let name = format!("a fifo of a long name, {number:0>70}");
        tree.insert(InodeId::ROOT, name.as_bytes(), Metadata::default(), Kind::Fifo)
            .expect("a new name");
    }
    let (image, _) = formatter.finish(tree).expect("3 MiB hold it");
    let image = without_checksums(image);
    let is_leaf = |at: &usize| image[at + 8..at + 14] == *b"a fifo";
    let leaves: Vec<_> = (0..image.len()).step_by(1024).filter(is_leaf).collect();
    assert!(leaves.len() >= 40, "{}", leaves.len());
    (image, leaves)
}

/// Returns the number of findings with a code.
fn count(image: &[u8], code: &str) -> usize {
    let findings = findings(image);
    findings.iter().filter(|finding| finding.problem.code() == code).count()
}

#[test]
fn damaged_blocks_of_a_directory_do_not_hide_the_others() {
    let (mut image, leaves) = with_a_large_directory();
    let mut lost = 0;
    for &at in &leaves[..30] {
        let block = &mut image[at..at + 1024];
        let is_name = |bytes: &&[u8]| bytes.starts_with(b"a fifo") || bytes.starts_with(b"lost+found");
        lost += block.windows(10).filter(is_name).count();
        // `rec_len` of the first entry.
        block[4] = 3;
    }
    assert!(lost < 350, "{lost}");
    assert_eq!(count(&image, "entry-length-wrong"), 30);
    assert_eq!(count(&image, "name-missing"), lost);
}

#[test]
fn names_in_skipped_directory_blocks_are_not_reported_missing() {
    let (mut image, leaves) = with_a_large_directory();
    for &at in &leaves[..30] {
        image[at..at + 1024].fill(0);
    }
    assert_eq!(count(&image, "entry-length-wrong"), 17);
    assert_eq!(count(&image, "directory-check-stopped"), 1);
    assert_eq!(count(&image, "name-missing"), 0);
    assert_eq!(count(&image, "link-count-wrong"), 0);
}
