//! Journals that were not replayed, as a [`Reader`] overlays them.

mod writer;

use std::io::Cursor;

use ext4::{
    BlockSize, FileType, Formatter, InodeId, Journal, Kind, Metadata, Options, ReadError, Reader, Size, Structure,
    Tree, check,
};

use writer::{BLOCK, JournalChecksums, JournalWriter, Transaction};

/// Makes an image with an empty journal and a file of three blocks. Returns the number of the first
/// block, too.
fn image() -> (Vec<u8>, u32) {
    image_with_journal(1 << 20)
}

/// Makes such an image with a journal of `len` bytes.
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

/// Reads the blocks of the file.
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

const FORMS: [(JournalChecksums, bool); 8] = [
    (JournalChecksums::None, false),
    (JournalChecksums::None, true),
    (JournalChecksums::V1, false),
    (JournalChecksums::V1, true),
    (JournalChecksums::V2, false),
    (JournalChecksums::V2, true),
    (JournalChecksums::V3, false),
    (JournalChecksums::V3, true),
];

#[test]
fn blocks_of_complete_transactions_replace_those_in_place() {
    let (image, block) = image();
    for (checksums, with_64bit) in FORMS {
        let mut journal = JournalWriter::new(&image, checksums, with_64bit, 1, 5);
        let contents = [(block, new(0)), (block + 1, new(1))];
        journal.transaction(&Transaction {
            contents: &contents,
            ..Transaction::default()
        });
        let contents = [(block + 1, new(2))];
        journal.transaction(&Transaction {
            contents: &contents,
            ..Transaction::default()
        });
        let contents = [(block + 2, new(3))];
        journal.transaction(&Transaction {
            contents: &contents,
            incomplete: true,
            ..Transaction::default()
        });
        let content = read(&journal.finish(5)).expect("a good journal");
        assert_eq!(content, [new(0), new(2), old(2)], "{checksums:?} {with_64bit}");
    }
}

#[test]
fn blocks_that_begin_with_the_magic_number_of_the_journal_are_unescaped() {
    let (image, block) = image();
    let mut like = new(0);
    like[..4].copy_from_slice(&0xC03B_3998_u32.to_be_bytes());
    for (checksums, with_64bit) in FORMS {
        let mut journal = JournalWriter::new(&image, checksums, with_64bit, 1, 5);
        let contents = [(block, like.clone()), (block + 1, new(1))];
        journal.transaction(&Transaction {
            contents: &contents,
            ..Transaction::default()
        });
        let content = read(&journal.finish(5)).expect("a good journal");
        assert_eq!(content, [like.clone(), new(1), old(2)], "{checksums:?} {with_64bit}");
    }
}

#[test]
fn revoked_blocks_are_ignored_unless_written_again() {
    let (image, block) = image();
    for (checksums, with_64bit) in FORMS {
        let mut journal = JournalWriter::new(&image, checksums, with_64bit, 1, 5);
        let contents = [(block, new(0)), (block + 1, new(1)), (block + 2, new(2))];
        journal.transaction(&Transaction {
            contents: &contents,
            ..Transaction::default()
        });
        journal.transaction(&Transaction {
            revoked: &[block, block + 1],
            ..Transaction::default()
        });
        let contents = [(block + 1, new(3))];
        journal.transaction(&Transaction {
            contents: &contents,
            ..Transaction::default()
        });
        // Revocations of an incomplete transaction do not count.
        journal.transaction(&Transaction {
            revoked: &[block + 2],
            incomplete: true,
            ..Transaction::default()
        });
        let content = read(&journal.finish(5)).expect("a good journal");
        assert_eq!(content, [old(0), new(3), new(2)], "{checksums:?} {with_64bit}");
    }
}

#[test]
fn blocks_and_sequence_numbers_of_the_journal_wrap_around() {
    let (image, block) = image();
    for (checksums, with_64bit) in FORMS {
        let len = JournalWriter::new(&image, checksums, with_64bit, 1, 0).len();
        let mut journal = JournalWriter::new(&image, checksums, with_64bit, len - 2, u32::MAX);
        let contents = [(block, new(0)), (block + 1, new(1))];
        journal.transaction(&Transaction {
            contents: &contents,
            ..Transaction::default()
        });
        let contents = [(block + 2, new(2))];
        journal.transaction(&Transaction {
            contents: &contents,
            ..Transaction::default()
        });
        assert_eq!(journal.next(), 6, "two blocks at the end, and five at the beginning");
        let content = read(&journal.finish(u32::MAX)).expect("a good journal");
        assert_eq!(content, [new(0), new(1), new(2)], "{checksums:?} {with_64bit}");
    }
}

#[test]
fn transactions_before_the_first_sequence_number_are_ignored() {
    let (image, block) = image();
    for (checksums, with_64bit) in FORMS {
        let mut journal = JournalWriter::new(&image, checksums, with_64bit, 1, 5);
        let contents = [(block, new(0))];
        journal.transaction(&Transaction {
            contents: &contents,
            ..Transaction::default()
        });
        let content = read(&journal.finish(6)).expect("a good journal");
        assert_eq!(content, [old(0), old(1), old(2)], "{checksums:?} {with_64bit}");
    }
}

/// Reads a journal with a complete transaction, number 5, and a fast commit of transaction
/// `transaction` in block `block` of the `blocks` blocks after its ring.
fn with_fast_commit(
    checksums: JournalChecksums,
    blocks: u32,
    block: u32,
    transaction: u32,
) -> Result<Vec<Vec<u8>>, ReadError> {
    let (image, at) = image_with_journal(2 << 20);
    let mut journal = JournalWriter::new(&image, checksums, true, 1, 5);
    journal.transaction(&Transaction {
        contents: &[(at, new(0))],
        ..Transaction::default()
    });
    journal.add_fast_commit(blocks, block, transaction);
    let image = journal.finish(5);
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
fn pending_fast_commits_are_refused() {
    for checksums in [JournalChecksums::None, JournalChecksums::V3] {
        for blocks in [2, 16, 256] {
            let result = with_fast_commit(checksums, blocks, 1, 6);
            assert!(
                matches!(result, Err(ReadError::FastCommits)),
                "{checksums:?} {blocks}: {result:?}"
            );
        }
    }
}

#[test]
fn fast_commits_of_another_transaction_are_ignored() {
    for transaction in [0, 4, 5, 7] {
        let content = with_fast_commit(JournalChecksums::V3, 16, 1, transaction).expect("a good journal");
        assert_eq!(content, [new(0), old(1), old(2)], "{transaction}");
    }
}

#[test]
fn fast_commits_outside_the_second_block_after_the_ring_are_ignored() {
    for block in [0, 2, 15] {
        let content = with_fast_commit(JournalChecksums::V3, 16, block, 6).expect("a good journal");
        assert_eq!(content, [new(0), old(1), old(2)], "{block}");
    }
}

#[test]
fn too_many_blocks_for_fast_commits_are_an_error() {
    let result = with_fast_commit(JournalChecksums::None, 1025, 1, 6);
    assert!(matches!(result, Err(ReadError::Journal { .. })), "{result:?}");
}

#[test]
fn too_many_revoked_blocks_are_an_error_even_in_an_incomplete_transaction() {
    let (image, block) = image();
    for (count, valid) in [
        (0, true),
        (16, true),
        (24, true),
        (1024, true),
        (1025, false),
        (u32::MAX, false),
    ] {
        let mut journal = JournalWriter::new(&image, JournalChecksums::None, true, 1, 5);
        journal.transaction(&Transaction {
            revoked: &[block],
            incomplete: true,
            ..Transaction::default()
        });
        journal.block(1)[12..16].copy_from_slice(&count.to_be_bytes());
        let result = read(&journal.finish(5));
        match result {
            Ok(_) => assert!(valid, "{count}"),
            Err(error) => assert!(matches!(error, ReadError::Journal { .. }) && !valid, "{count}: {error}"),
        }
    }
}

/// Reads an image with a damaged block of its first transaction. The journal has tags in block 1,
/// content in block 2, a revoke block in block 3, and a commit block in block 4.
fn read_damaged(checksums: JournalChecksums, damage: u32) -> Result<Vec<Vec<u8>>, ReadError> {
    let (image, block) = image();
    let mut journal = JournalWriter::new(&image, checksums, true, 1, 5);
    let contents = [(block, new(0))];
    journal.transaction(&Transaction {
        contents: &contents,
        revoked: &[block + 1],
        ..Transaction::default()
    });
    journal.block(damage)[100] ^= 1;
    read(&journal.finish(5))
}

#[test]
fn a_wrong_checksum_in_a_complete_transaction_is_an_error() {
    for checksums in [JournalChecksums::V2, JournalChecksums::V3] {
        for block in [1, 3, 4] {
            let result = read_damaged(checksums, block);
            assert!(
                matches!(result, Err(ReadError::Journal { .. })),
                "{checksums:?} {block}: {result:?}"
            );
        }
        let result = read_damaged(checksums, 2);
        let Err(ReadError::Checksum { structure }) = result else {
            panic!("{checksums:?}: {result:?}");
        };
        assert_eq!(structure, Structure::JournalBlock { block: 2 });
    }
    for block in [1, 2] {
        let result = read_damaged(JournalChecksums::V1, block);
        assert!(matches!(result, Err(ReadError::Journal { .. })), "{block}: {result:?}");
    }
}

#[test]
fn a_transaction_with_a_wrong_checksum_and_an_older_time_is_ignored() {
    let (image, block) = image();
    let mut journal = JournalWriter::new(&image, JournalChecksums::V3, true, 1, 5);
    let contents = [(block, new(0))];
    journal.transaction(&Transaction {
        contents: &contents,
        ..Transaction::default()
    });
    journal.time -= 1;
    let contents = [(block + 1, new(1))];
    journal.transaction(&Transaction {
        contents: &contents,
        ..Transaction::default()
    });
    journal.block(4)[100] ^= 1;
    let content = read(&journal.finish(5)).expect("a good journal");
    assert_eq!(content, [new(0), old(1), old(2)]);
}

#[test]
fn no_damaged_journal_causes_a_panic_or_an_endless_loop() {
    let (image, block) = image();
    for (checksums, with_64bit) in FORMS {
        // Enough transactions to fill the journal.
        let mut journal = JournalWriter::new(&image, checksums, with_64bit, 1, 5);
        for _ in 0..journal.len() / 3 {
            let contents = [(block, new(0))];
            journal.transaction(&Transaction {
                contents: &contents,
                ..Transaction::default()
            });
        }
        let mut full = journal.finish(5);
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
        assert!(errors > 10, "{errors} errors with {checksums:?}");
    }
}

/// Returns an image with a superblock in its journal that has a changed field, and a correct
/// checksum or not.
fn with_superblock(image: &[u8], at: usize, bytes: &[u8], valid_checksum: bool) -> Vec<u8> {
    let mut journal = JournalWriter::new(image, JournalChecksums::V3, true, 1, 5);
    let mut superblock = journal.superblock();
    superblock[at..at + bytes.len()].copy_from_slice(bytes);
    if valid_checksum {
        let sum = !crc32c::crc32c(&superblock[..1020]);
        superblock[1020..].copy_from_slice(&sum.to_le_bytes());
    }
    journal.transaction(&Transaction {
        contents: &[(1, superblock)],
        ..Transaction::default()
    });
    journal.finish(5)
}

#[test]
fn a_superblock_in_the_journal_replaces_the_one_in_place() {
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
    let messages: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(messages, ["the superblock: revision 2"]);

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
fn no_superblock_in_a_journal_causes_a_panic() {
    let (good, _) = image();
    // Sizes, counts, features and inode numbers.
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
