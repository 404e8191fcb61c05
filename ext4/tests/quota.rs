//! Quota files, which the formatter does not write: findings of [`ext4::check()`] in their header
//! and tree.

use std::io::Cursor;

use ext4::{
    BlockSize, Formatter, InodeId, Journal, Kind, Metadata, Options, Problem, QuotaProblem, Reader, Size, Tree, check,
};

/// Length of a block of a quota file in bytes.
const BLOCK: usize = 1024;
/// Length of an entry in bytes.
const ENTRY: usize = 72;
const USERS: [u32; 4] = [0, 5, 300, 0x0102_0304];

/// Makes a quota file with the entries of [`USERS`] in its last block.
fn quota_file() -> Vec<u8> {
    let mut file = vec![0; 2 * BLOCK];
    let header = [0xD9C0_1F11_u32, 1, 604_800, 604_800, 0, 0, 0, 0];
    file[..32].copy_from_slice(&header.map(u32::to_le_bytes).concat());
    let mut leaf = vec![0; BLOCK];
    leaf[8] = 4;
    let mut paths = Vec::new();
    for (index, id) in USERS.into_iter().enumerate() {
        let mut node = BLOCK;
        let bytes = id.to_be_bytes();
        for &byte in &bytes[..3] {
            let number = node + 4 * usize::from(byte);
            let below = word(&file, number) as usize;
            node = if below == 0 {
                let next = file_blocks(&file);
                put(&mut file, number, next);
                file.resize(file.len() + BLOCK, 0);
                file.len() - BLOCK
            } else {
                below * BLOCK
            };
        }
        paths.push(node + 4 * usize::from(bytes[3]));
        let entry = 16 + index * ENTRY;
        put(&mut leaf, entry, id);
        // `dqb_itime`: the entry of user 0 must not be all zero.
        leaf[entry + 64] = 1;
    }
    let last = file_blocks(&file);
    for number in paths {
        put(&mut file, number, last);
    }
    file.extend(leaf);
    put(&mut file, 20, last + 1);
    file
}

fn file_blocks(file: &[u8]) -> u32 {
    u32::try_from(file.len() / BLOCK).expect("a small file")
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

/// Returns the problems found in an image whose quota file for users has this content.
fn quota_problems(content: &[u8], block_size: BlockSize) -> Vec<QuotaProblem> {
    let options = Options {
        size: Size::Fixed(4 << 20),
        block_size,
        journal: Journal::None,
        ..Options::new([7; 16])
    };
    let mut formatter = Formatter::new(Vec::new(), options).expect("4 MiB are a file system");
    let data = formatter
        .write_data(content, content.len() as u64)
        .expect("there is room");
    let mut tree = Tree::default();
    tree.insert(InodeId::ROOT, b"file", Metadata::default(), Kind::File(data))
        .expect("a new name");
    let (mut image, _) = formatter.finish(tree).expect("4 MiB hold it");
    let reader = Reader::open(Cursor::new(&image)).expect("it is an image");
    let root = reader.root().expect("there is a root");
    let entries = reader.read_dir(&root).expect("a good directory");
    let file = entries.iter().find(|entry| *entry.name == *b"file").expect("the file");
    let ino = file.ino.get();
    // No checksums, but the feature `quota`, and `s_usr_quota_inum`.
    image[1024 + 0x65] = image[1024 + 0x65] & !4 | 1;
    put(&mut image, 1024 + 0x240, ino);
    let report = check(Cursor::new(&image)).expect("it is a file system");
    let problems = report.findings.iter().filter_map(|finding| match finding.problem {
        Problem::QuotaFileDamaged { problem } => Some(problem),
        _ => None,
    });
    problems.collect()
}

#[test]
fn a_valid_quota_file_is_clean() {
    for block_size in [BlockSize::Kib1, BlockSize::Kib4] {
        assert_eq!(quota_problems(&quota_file(), block_size), []);
    }
}

#[test]
fn each_fault_of_a_quota_file_is_found() {
    let good = quota_file();
    let last = good.len() - BLOCK;
    let (blocks, node) = (file_blocks(&good), word(&good, BLOCK));
    let second = node as usize * BLOCK;
    let third = word(&good, second) as usize * BLOCK;
    let fourth = word(&good, third) as usize * BLOCK;
    let (leaf, available) = (blocks - 1, blocks.into());
    let count = |found| QuotaProblem::BlockCountWrong { found, available };
    let outside = |node, block| QuotaProblem::BlockOutside { node, block };
    let twice = |block| QuotaProblem::NodeTwice { block };
    let unreached = QuotaProblem::EntriesUnreached { block: leaf };
    let header = QuotaProblem::LeafHeaderWrong {
        block: leaf,
        entries: 4,
    };
    for (what, at, number, expected) in [
        ("magic number of groups", 0, 0xD9C0_1927, QuotaProblem::HeaderWrong),
        ("version 0", 4, 0, QuotaProblem::HeaderWrong),
        ("more blocks than the file", 20, blocks + 1, count(blocks + 1)),
        (
            "fewer blocks than are in use",
            20,
            blocks - 1,
            outside(blocks - 2, blocks - 1),
        ),
        ("no blocks at all", 20, 0, count(0)),
        ("free blocks outside", 24, blocks, QuotaProblem::FreeBlockOutside),
        ("free entries outside", 28, u32::MAX, QuotaProblem::FreeBlockOutside),
        ("a node outside", BLOCK, blocks, outside(1, blocks)),
        ("a node in a circle", BLOCK, 1, twice(1)),
        ("a node twice", BLOCK + 4 * 7, node, twice(node)),
        ("a leaf as a node", BLOCK + 4 * 7, blocks - 1, twice(1)),
        (
            "a node that is empty",
            second,
            0,
            QuotaProblem::NodeEmpty { block: node },
        ),
        ("no leaf for a user", fourth + 4 * 5, 0, unreached),
        ("a node below itself", second + 4 * 200, node, twice(node)),
        ("one entry more", last + 8, 5, header),
        ("one entry less", last + 8, 3, header),
        ("a leaf in a list outside", last, blocks, header),
        (
            "the entry of another user",
            last + 16,
            6,
            QuotaProblem::EntryMissing { block: leaf, id: 0 },
        ),
        ("an entry that nothing leads to", last + 16 + 4 * ENTRY, 9, unreached),
    ] {
        let mut file = good.clone();
        put(&mut file, at, number);
        if what == "an entry that nothing leads to" {
            put(&mut file, last + 8, 5);
        }
        assert_eq!(quota_problems(&file, BlockSize::Kib1), [expected], "{what}");
    }
}

#[test]
fn no_byte_of_a_quota_file_causes_a_panic() {
    let good = quota_file();
    let mut problems = 0;
    for at in (0..32).chain((BLOCK..good.len()).filter(|&at| good[at] != 0)) {
        for value in [0, 1, 0x7F, 0xFF] {
            let mut file = good.clone();
            file[at] = value;
            problems += quota_problems(&file, BlockSize::Kib1).len();
        }
    }
    assert!(problems > 50, "{problems}");
}
