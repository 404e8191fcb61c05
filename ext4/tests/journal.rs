//! What a [`Reader`] makes of journals that were not replayed.

mod log;

use std::io::Cursor;

use ext4::{
    BlockSize, FileType, Formatter, InodeId, Journal, Kind, Metadata, Options, ReadError, Reader, Size, Structure,
    Tree, check,
};

use log::{BLOCK, Log, Sums, Transaction};

/// An image with an empty journal and a file of three blocks, and where these are.
fn image() -> (Vec<u8>, u32) {
    image_with_journal(1 << 20)
}

/// The same with a journal of a length in bytes.
fn image_with_journal(len: u64) -> (Vec<u8>, u32) {
    let options = Options {
        size: Size::Fixed(16 << 20),
        block_size: BlockSize::Kib1,
        journal: Journal::Bytes(len),
        ..Options::new([7; 16])
    };
    let mut formatter = Formatter::new(Vec::new(), options).expect("16 MiB are a file system");
    let content = [old(0), old(1), old(2)].concat();
    let data = formatter
        .write_data(&content[..], 3 * BLOCK as u64)
        .expect("there is room");
    let mut tree = Tree::default();
    tree.insert(InodeId::ROOT, b"file", Metadata::default(), Kind::File(data))
        .expect("a new name");
    let (image, _) = formatter.finish(tree).expect("16 MiB hold it");
    let block = image
        .chunks(BLOCK)
        .position(|block| block == old(0))
        .expect("it was written");
    (image, u32::try_from(block).expect("a small image"))
}

fn old(number: u8) -> Vec<u8> {
    vec![b'a' + number; BLOCK]
}

fn new(number: u8) -> Vec<u8> {
    vec![b'A' + number; BLOCK]
}

/// The blocks of the file.
fn read(image: &[u8]) -> Result<Vec<Vec<u8>>, ReadError> {
    let reader = Reader::open(Cursor::new(image))?;
    let root = reader.root()?;
    let entries = reader.read_dir(&root)?;
    let entry = entries.iter().find(|entry| *entry.name == *b"file").expect("the file");
    let inode = reader.inode(entry.ino)?;
    assert_eq!(inode.file_type, FileType::RegularFile);
    let mut content = vec![0; 3 * BLOCK];
    for range in reader.data(&inode)? {
        let start = usize::try_from(range.start).expect("it is small");
        let len = usize::try_from(range.len).expect("it is small");
        reader.read_data(&range, 0, &mut content[start..start + len])?;
    }
    Ok(content.chunks(BLOCK).map(<[u8]>::to_vec).collect())
}

const FORMS: [(Sums, bool); 8] = [
    (Sums::None, false),
    (Sums::None, true),
    (Sums::V1, false),
    (Sums::V1, true),
    (Sums::V2, false),
    (Sums::V2, true),
    (Sums::V3, false),
    (Sums::V3, true),
];

#[test]
fn what_complete_transactions_hold_is_read_in_its_place() {
    let (image, block) = image();
    for (sums, is_wide) in FORMS {
        let mut log = Log::new(&image, sums, is_wide, 1, 5);
        let contents = [(block, new(0)), (block + 1, new(1))];
        log.transaction(&Transaction {
            contents: &contents,
            ..Transaction::default()
        });
        let contents = [(block + 1, new(2))];
        log.transaction(&Transaction {
            contents: &contents,
            ..Transaction::default()
        });
        let contents = [(block + 2, new(3))];
        log.transaction(&Transaction {
            contents: &contents,
            is_incomplete: true,
            ..Transaction::default()
        });
        let content = read(&log.finish(5)).expect("a good journal");
        assert_eq!(content, [new(0), new(2), old(2)], "{sums:?} {is_wide}");
    }
}

#[test]
fn content_that_begins_like_the_journal_comes_back() {
    let (image, block) = image();
    let mut like = new(0);
    like[..4].copy_from_slice(&0xC03B_3998_u32.to_be_bytes());
    for (sums, is_wide) in FORMS {
        let mut log = Log::new(&image, sums, is_wide, 1, 5);
        let contents = [(block, like.clone()), (block + 1, new(1))];
        log.transaction(&Transaction {
            contents: &contents,
            ..Transaction::default()
        });
        let content = read(&log.finish(5)).expect("a good journal");
        assert_eq!(content, [like.clone(), new(1), old(2)], "{sums:?} {is_wide}");
    }
}

#[test]
fn what_was_revoked_means_nothing_unless_it_was_written_again() {
    let (image, block) = image();
    for (sums, is_wide) in FORMS {
        let mut log = Log::new(&image, sums, is_wide, 1, 5);
        let contents = [(block, new(0)), (block + 1, new(1)), (block + 2, new(2))];
        log.transaction(&Transaction {
            contents: &contents,
            ..Transaction::default()
        });
        log.transaction(&Transaction {
            revoked: &[block, block + 1],
            ..Transaction::default()
        });
        let contents = [(block + 1, new(3))];
        log.transaction(&Transaction {
            contents: &contents,
            ..Transaction::default()
        });
        // What is revoked by a transaction that is not complete is not.
        log.transaction(&Transaction {
            revoked: &[block + 2],
            is_incomplete: true,
            ..Transaction::default()
        });
        let content = read(&log.finish(5)).expect("a good journal");
        assert_eq!(content, [old(0), new(3), new(2)], "{sums:?} {is_wide}");
    }
}

#[test]
fn a_journal_goes_on_at_its_first_block_and_its_numbers_at_zero() {
    let (image, block) = image();
    for (sums, is_wide) in FORMS {
        let len = Log::new(&image, sums, is_wide, 1, 0).len();
        let mut log = Log::new(&image, sums, is_wide, len - 2, u32::MAX);
        let contents = [(block, new(0)), (block + 1, new(1))];
        log.transaction(&Transaction {
            contents: &contents,
            ..Transaction::default()
        });
        let contents = [(block + 2, new(2))];
        log.transaction(&Transaction {
            contents: &contents,
            ..Transaction::default()
        });
        assert_eq!(log.next(), 6, "two blocks at the end, and five at the beginning");
        let content = read(&log.finish(u32::MAX)).expect("a good journal");
        assert_eq!(content, [new(0), new(1), new(2)], "{sums:?} {is_wide}");
    }
}

#[test]
fn transactions_of_another_number_are_from_before() {
    let (image, block) = image();
    for (sums, is_wide) in FORMS {
        let mut log = Log::new(&image, sums, is_wide, 1, 5);
        let contents = [(block, new(0))];
        log.transaction(&Transaction {
            contents: &contents,
            ..Transaction::default()
        });
        let content = read(&log.finish(6)).expect("a good journal");
        assert_eq!(content, [old(0), old(1), old(2)], "{sums:?} {is_wide}");
    }
}

/// Reads a journal with one complete transaction, number 5, and the head of fast
/// commits in a block behind its ring, which belong to another transaction.
fn with_fast_commit(sums: Sums, blocks: u32, block: u32, transaction: u32) -> Result<Vec<Vec<u8>>, ReadError> {
    let (image, at) = image_with_journal(2 << 20);
    let mut log = Log::new(&image, sums, true, 1, 5);
    log.transaction(&Transaction {
        contents: &[(at, new(0))],
        ..Transaction::default()
    });
    log.fast_commit(blocks, block, transaction);
    let image = log.finish(5);
    let result = read(&image);
    let checked = check(Cursor::new(&image));
    assert_eq!(
        matches!(result, Err(ReadError::FastCommits)),
        matches!(checked, Err(ReadError::FastCommits)),
        "{checked:?}"
    );
    result
}

#[test]
fn fast_commits_that_were_not_replayed_are_refused() {
    for sums in [Sums::None, Sums::V3] {
        for blocks in [2, 16, 256] {
            let result = with_fast_commit(sums, blocks, 1, 6);
            assert!(
                matches!(result, Err(ReadError::FastCommits)),
                "{sums:?} {blocks}: {result:?}"
            );
        }
    }
}

#[test]
fn fast_commits_of_another_transaction_are_from_before() {
    for transaction in [0, 4, 5, 7] {
        let content = with_fast_commit(Sums::V3, 16, 1, transaction).expect("a good journal");
        assert_eq!(content, [new(0), old(1), old(2)], "{transaction}");
    }
}

#[test]
fn fast_commits_begin_in_the_second_block_behind_the_ring() {
    for block in [0, 2, 15] {
        let content = with_fast_commit(Sums::V3, 16, block, 6).expect("a good journal");
        assert_eq!(content, [new(0), old(1), old(2)], "{block}");
    }
}

#[test]
fn a_journal_with_too_many_blocks_for_fast_commits_is_damaged() {
    let result = with_fast_commit(Sums::None, 1025, 1, 6);
    assert!(matches!(result, Err(ReadError::Journal { .. })), "{result:?}");
}

#[test]
fn too_many_revoked_blocks_are_an_error_even_in_an_incomplete_transaction() {
    let (image, block) = image();
    for (count, is_right) in [
        (0, true),
        (16, true),
        (24, true),
        (1024, true),
        (1025, false),
        (u32::MAX, false),
    ] {
        let mut log = Log::new(&image, Sums::None, true, 1, 5);
        log.transaction(&Transaction {
            revoked: &[block],
            is_incomplete: true,
            ..Transaction::default()
        });
        log.block(1)[12..16].copy_from_slice(&count.to_be_bytes());
        let result = read(&log.finish(5));
        match result {
            Ok(_) => assert!(is_right, "{count}"),
            Err(error) => assert!(
                matches!(error, ReadError::Journal { .. }) && !is_right,
                "{count}: {error}"
            ),
        }
    }
}

/// The blocks of the first transaction, which holds one block and revokes another: tags, content, revoked blocks, commit.
fn damaged(sums: Sums, damage: u32) -> Result<Vec<Vec<u8>>, ReadError> {
    let (image, block) = image();
    let mut log = Log::new(&image, sums, true, 1, 5);
    let contents = [(block, new(0))];
    log.transaction(&Transaction {
        contents: &contents,
        revoked: &[block + 1],
        ..Transaction::default()
    });
    log.block(damage)[100] ^= 1;
    read(&log.finish(5))
}

#[test]
fn a_wrong_checksum_in_a_complete_transaction_is_an_error() {
    for sums in [Sums::V2, Sums::V3] {
        for block in [1, 3, 4] {
            let result = damaged(sums, block);
            assert!(
                matches!(result, Err(ReadError::Journal { .. })),
                "{sums:?} {block}: {result:?}"
            );
        }
        let result = damaged(sums, 2);
        let Err(ReadError::Checksum { structure }) = result else {
            panic!("{sums:?}: {result:?}");
        };
        assert_eq!(structure, Structure::JournalBlock { block: 2 });
    }
    for block in [1, 2] {
        let result = damaged(Sums::V1, block);
        assert!(matches!(result, Err(ReadError::Journal { .. })), "{block}: {result:?}");
    }
}

#[test]
fn a_transaction_with_a_wrong_checksum_that_is_older_than_the_last_is_from_before() {
    let (image, block) = image();
    let mut log = Log::new(&image, Sums::V3, true, 1, 5);
    let contents = [(block, new(0))];
    log.transaction(&Transaction {
        contents: &contents,
        ..Transaction::default()
    });
    log.time -= 1;
    let contents = [(block + 1, new(1))];
    log.transaction(&Transaction {
        contents: &contents,
        ..Transaction::default()
    });
    log.block(4)[100] ^= 1;
    let content = read(&log.finish(5)).expect("a good journal");
    assert_eq!(content, [new(0), old(1), old(2)]);
}

#[test]
fn no_journal_makes_a_panic_or_a_circle() {
    let (image, block) = image();
    for (sums, is_wide) in FORMS {
        // So many transactions that the journal is full of them.
        let mut log = Log::new(&image, sums, is_wide, 1, 5);
        for _ in 0..log.len() / 3 {
            let contents = [(block, new(0))];
            log.transaction(&Transaction {
                contents: &contents,
                ..Transaction::default()
            });
        }
        let mut full = log.finish(5);
        read(&full).expect("a good journal");
        let head = 0xC03B_3998_0000_0004_u64.to_be_bytes();
        let start = full
            .chunks(BLOCK)
            .position(|block| block.starts_with(&head))
            .expect("a journal")
            * BLOCK;
        let mut errors = 0;
        for at in (start..start + 0x60).chain(start + BLOCK..start + BLOCK + 64) {
            let good = full[at];
            full[at] = [0, 0xFF, good ^ 0x80, good.wrapping_add(1)][at / 4 % 4];
            errors += u32::from(read(&full).is_err());
            full[at] = good;
        }
        assert!(errors > 10, "{errors} errors with {sums:?}");
    }
}

/// The same with a superblock in its journal that has a changed field, and perhaps the right checksum for it.
fn with_superblock(image: &[u8], at: usize, bytes: &[u8], has_right_sum: bool) -> Vec<u8> {
    let mut log = Log::new(image, Sums::V3, true, 1, 5);
    let mut superblock = log.superblock();
    superblock[at..at + bytes.len()].copy_from_slice(bytes);
    if has_right_sum {
        let sum = !crc32c::crc32c(&superblock[..1020]);
        superblock[1020..].copy_from_slice(&sum.to_le_bytes());
    }
    log.transaction(&Transaction {
        contents: &[(1, superblock)],
        ..Transaction::default()
    });
    log.finish(5)
}

#[test]
fn a_superblock_in_the_journal_is_the_one_that_counts() {
    // `s_volume_name`
    let (good, _) = image();
    let image = with_superblock(&good, 0x78, b"new", true);
    let reader = Reader::open(Cursor::new(&image)).expect("a good superblock");
    assert_eq!(reader.info().label, b"new");
    let report = check(Cursor::new(&image)).expect("it is a file system");
    assert!(report.is_clean(), "{report:?}");

    // `s_rev_level`
    let image = with_superblock(&good, 0x4C, &[2], true);
    let report = check(Cursor::new(&image)).expect("it is a file system");
    let said: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["the superblock: unknown revision 2"]);

    let image = with_superblock(&good, 0x78, b"new", false);
    let result = Reader::open(Cursor::new(&image)).map(|reader| reader.info());
    let Err(ReadError::Checksum { structure }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(structure, Structure::Superblock);
    let report = check(Cursor::new(&image)).expect("it is a file system");
    assert!(!report.is_clean());
}

#[test]
fn no_superblock_in_a_journal_makes_a_panic() {
    let (good, _) = image();
    // Sizes, counts, features and numbers of inodes.
    for at in (0..0x68)
        .chain(0xCC..0xD0)
        .chain(0xE0..0xEC)
        .chain(0xFC..0x100)
        .chain(0x150..0x15C)
        .step_by(4)
    {
        for number in [0_u32, 7, 0x8000_7FFF, u32::MAX] {
            let image = with_superblock(&good, at, &number.to_le_bytes(), true);
            let _ = check(Cursor::new(&image));
            let _ = Reader::open(Cursor::new(&image)).and_then(|reader| {
                let root = reader.root()?;
                reader.read_dir(&root)
            });
        }
    }
}
