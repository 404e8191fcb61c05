//! Damaged images: [`ext4::check()`] finds a problem wherever e2fsck does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ext4::{BlockSize, Fit, Journal, Reader, Size};

use crate::setup::{self, MIB, Setup, image_file};
use crate::shapes;
use support::skip::print_uncaptured;
use support::tools;

/// Setups for images of the crate.
fn our_setups() -> Vec<Setup> {
    let small = |name, change: fn(&mut ext4::Options)| {
        Setup::small(name, |options| {
            options.size = Size::Fit(Fit {
                free: MIB,
                free_percent: 0,
                min: MIB,
                max: 1 << 40,
            });
            options.block_size = BlockSize::Kib1;
            options.large_xattrs = true;
            change(options);
        })
    };
    vec![
        small("with a journal", |options| options.journal = Journal::Bytes(MIB)),
        small("without a journal", |options| options.journal = Journal::None),
        small("content in inodes", |options| options.inline_data = true),
        small("without growth", |options| options.growth = false),
        small("blocks of 4 KiB", |options| {
            options.block_size = BlockSize::Kib4;
            options.journal = Journal::None;
        }),
    ]
}

/// Features of images of mke2fs, with checksums of each kind.
const FEATURES: [&str; 6] = [
    "metadata_csum",
    "metadata_csum_seed,inline_data",
    "^metadata_csum",
    "^metadata_csum,^uninit_bg,^64bit",
    "^extent,^flex_bg,^64bit,^metadata_csum",
    "^has_journal,^resize_inode,^metadata_csum",
];

/// Makes an image with mke2fs: directories, files of up to 25 KiB, links of all kinds, and enough
/// names for an index.
fn make_with_mke2fs(image: &Path, features: &str) {
    let tree = tempfile::tempdir().unwrap();
    for directory in 0..8 {
        let directory = tree.path().join(format!("directory-{directory}"));
        fs::create_dir(&directory).unwrap();
        for file in 0..12 {
            let content = "some lines of a text\n".repeat(file * 100);
            fs::write(directory.join(format!("file-{file}")), content).unwrap();
        }
    }
    fs::write(tree.path().join("tiny"), b"tiny").unwrap();
    fs::write(tree.path().join("small"), [b's'; 100]).unwrap();
    fs::create_dir(tree.path().join("many")).unwrap();
    for number in 0..120 {
        fs::write(tree.path().join(format!("many/{number:0>40}")), b"").unwrap();
    }
    std::os::unix::fs::symlink("x".repeat(100), tree.path().join("long")).unwrap();
    std::os::unix::fs::symlink("short", tree.path().join("fast")).unwrap();
    fs::hard_link(tree.path().join("directory-0/file-3"), tree.path().join("other")).unwrap();
    File::create(image).unwrap().set_len(8 * MIB).unwrap();
    let mut arguments = vec![
        "-q", "-F", "-t", "ext4", "-b", "1024", "-N", "512", "-O", features, "-d",
    ];
    arguments.push(tree.path().to_str().unwrap());
    tools::stdout("mke2fs", &arguments, image);
    // Adds the index, which mke2fs does not make.
    let ordered = tools::run("e2fsck", &["-fyD"], image);
    assert!(
        ordered.status.code().is_some_and(|code| code <= 1),
        "{}",
        tools::text(&ordered)
    );
}

/// Pseudorandom number generator (`SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// Counts of images in which both, neither or one of e2fsck and [`ext4::check()`] found a problem.
#[derive(Default)]
struct Tally {
    both: u32,
    neither: u32,
    /// Found by e2fsck alone: the damage, and e2fsck's output.
    missed: Vec<String>,
    /// Found by the check alone: counts by the first structure and problem.
    ours: BTreeMap<String, u32>,
}

impl Tally {
    fn add(&mut self, image: &Path, what: &str) {
        let theirs = tools::e2fsck_errors(image);
        let found = ext4::check(File::open(image).unwrap());
        found.iter().for_each(support::check::assert_distinct);
        let first = match &found {
            Ok(report) => report
                .findings
                .first()
                .map(|first| format!("{}: {}", first.structure.kind(), first.problem.code())),
            Err(error) => Some(error.to_string()),
        };
        match (theirs, first) {
            (Some(_), Some(_)) => self.both += 1,
            (None, None) => self.neither += 1,
            (Some(problems), None) => self.missed.push(format!("{what}: {problems}")),
            (None, Some(first)) => {
                *self.ours.entry(first).or_default() += 1;
            }
        }
    }

    fn summary(&self) -> String {
        let ours: u32 = self.ours.values().sum();
        let mut text = format!(
            "both {}, neither {}, only e2fsck {}, only ext4::check {ours}\n",
            self.both,
            self.neither,
            self.missed.len()
        );
        for (kind, count) in &self.ours {
            writeln!(text, "  only ext4::check, {count} times: {kind}").unwrap();
        }
        for missed in &self.missed {
            writeln!(text, "  only e2fsck: {missed}").unwrap();
        }
        text
    }
}

/// For each seed, damages an image, runs both on it, and restores it.
fn tally_damage(image: &Path, name: &str, seeds: Range<u64>, tally: &mut Tally) {
    let bytes = fs::read(image).unwrap();
    // Blocks that are neither uniform nor text: metadata, and little content.
    let is_text = |byte: &u8| matches!(byte, b'\n' | b' '..=b'~') || !byte.is_ascii();
    let blocks = bytes
        .chunks(1024)
        .enumerate()
        .filter(|(_, block)| block.iter().any(|&byte| byte != block[0]) && !block[..256].iter().all(is_text));
    let blocks: Vec<usize> = blocks.map(|(number, _)| number).collect();
    let file = File::options().write(true).open(image).unwrap();
    for seed in seeds {
        let mut random = Random(seed);
        let mut offsets = Vec::new();
        for _ in 0..=seed % 3 / 2 {
            let at = match seed % 8 {
                0 => random.below(bytes.len()),
                _ => blocks[random.below(blocks.len())] * 1024 + random.below(1024),
            };
            let value = match random.below(4) {
                0 => bytes[at] ^ 1 << random.below(8),
                1 => 0,
                2 => 0xFF,
                _ => u8::try_from(random.below(256)).unwrap(),
            };
            offsets.push(at);
            file.write_all_at(&[value], at as u64).unwrap();
        }
        tally.add(image, &format!("{name}, seed {seed}, bytes {offsets:x?}"));
        for at in offsets {
            file.write_all_at(&[bytes[at]], at as u64).unwrap();
        }
    }
}

/// Seeds for each image: `DAMAGE_SEEDS=from..to`, or the first 60.
fn seeds() -> Range<u64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the variable selects tests, and does not affect images"
    )]
    let range = std::env::var("DAMAGE_SEEDS").ok();
    range.map_or(0..60, |range| {
        let (from, to) = range.split_once("..").expect("from..to");
        from.parse().unwrap()..to.parse().unwrap()
    })
}

#[test]
fn check_finds_the_damage_that_e2fsck_finds() {
    if tools::are_missing(&["e2fsck", "mke2fs"]) {
        return;
    }
    let mut tally = Tally::default();
    for setup in our_setups() {
        let image = image_file();
        setup::build(&image, &setup, |build, block_size| {
            shapes::every_kind(build, block_size);
            shapes::every_structure(build, block_size);
        })
        .unwrap();
        tools::assert_clean(&image, setup.name);
        tally_damage(&image, setup.name, seeds(), &mut tally);
    }
    for features in FEATURES {
        let image = image_file();
        make_with_mke2fs(&image, features);
        tools::assert_clean(&image, features);
        tally_damage(&image, features, seeds(), &mut tally);
    }
    print_uncaptured(&tally.summary());
    assert!(tally.both > 100, "{}", tally.summary());
    assert!(tally.missed.is_empty(), "{}", tally.summary());
}

#[test]
fn check_finds_the_damaged_fields_that_e2fsck_finds() {
    tally_damaged_fields("^metadata_csum,inline_data");
}

#[test]
fn check_finds_the_damaged_fields_that_e2fsck_finds_without_a_journal() {
    tally_damaged_fields("^metadata_csum,^64bit,^has_journal,^resize_inode");
}

/// Flips each bit of the flags, and a bit of each other byte, in the first fields of an inode of
/// each kind, in the superblock and in a group descriptor. The images have no checksums, which
/// would detect every change.
fn tally_damaged_fields(features: &str) {
    if tools::are_missing(&["e2fsck", "mke2fs", "dumpe2fs"]) {
        return;
    }
    let mut tally = Tally::default();
    let image = image_file();
    make_with_mke2fs(&image, features);
    tools::assert_clean(&image, features);
    let bytes = fs::read(&image).unwrap();
    let file = File::options().write(true).open(&image).unwrap();
    let table = inode_table_offset(&image);
    let inodes = inodes_of_each_kind(&image).into_iter().map(|ino| {
        let inode = table + (u64::from(ino) - 1) * 256;
        (format!("inode {ino}"), inode..inode + 0x80, 0x20..0x24)
    });
    // The flags of the superblock are its features.
    let superblock = ("superblock".to_owned(), 1024..2048, 0x5C..0x68);
    let descriptor = ("descriptor".to_owned(), 2048..2048 + 64, 0x12..0x13);
    for (structure, range, flags) in inodes.chain([superblock, descriptor]) {
        for at in 0..range.end - range.start {
            // Times of the last mount and write: only e2fsck compares them with the clock.
            if structure == "superblock" && (0x2C..0x34).contains(&at) {
                continue;
            }
            let changes = if flags.contains(&at) { 0..8 } else { 7..8 };
            for bit in changes {
                // `needs_recovery` is not a problem.
                if structure == "superblock" && (at, bit) == (0x60, 2) {
                    continue;
                }
                let place = range.start + at;
                let byte = bytes[usize::try_from(place).unwrap()];
                file.write_all_at(&[byte ^ 1 << bit], place).unwrap();
                tally.add(&image, &format!("{features}, {structure}, byte {at:#x}, bit {bit}"));
                file.write_all_at(&[byte], place).unwrap();
            }
        }
    }
    print_uncaptured(&tally.summary());
    assert!(tally.both > 500, "{}", tally.summary());
    assert!(tally.missed.is_empty(), "{}", tally.summary());
}

/// Returns the reserved inodes, and one inode of each file type.
fn inodes_of_each_kind(image: &Path) -> Vec<u32> {
    let reader = Reader::open(File::open(image).unwrap()).unwrap();
    let root = reader.root().unwrap();
    let entries = reader.read_dir(&root).unwrap();
    let wanted: [&[u8]; 7] = [
        b"directory-0",
        b"fast",
        b"long",
        b"lost+found",
        b"many",
        b"small",
        b"tiny",
    ];
    let found = entries.iter().filter(|entry| wanted.contains(&&entry.name[..]));
    let found: Vec<u32> = found.map(|entry| entry.ino.get()).collect();
    assert_eq!(found.len(), wanted.len());
    (1..11).chain(found).collect()
}

/// Offset of the inode table of the only group, in bytes.
fn inode_table_offset(image: &Path) -> u64 {
    let groups = tools::stdout("dumpe2fs", &[""; 0], image);
    let line = groups
        .lines()
        .find_map(|line| line.trim().strip_prefix("Inode table at "));
    let block: u64 = line.and_then(|line| line.split('-').next()).unwrap().parse().unwrap();
    block * 1024
}
