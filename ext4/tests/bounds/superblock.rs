//! Superblocks with any values and a correct checksum.

use ext4::{BlockSize, Formatter, Options, ReadError, Reader, Size, Tree, check};

use crate::bounds::sparse::SparseImage;

/// Offsets of the fields that may have any value, in steps of four bytes. Most contain one field,
/// or two.
fn fields() -> impl Iterator<Item = u64> {
    (0..0x180).chain(0x240..0x288).step_by(4)
}

/// Limit on the bytes that are read of an image of a few hundred KiB, whose superblock may claim
/// large inode tables.
const BUDGET: u64 = 64 << 20;

const NUMBERS: [u32; 8] = [0, 1, 7, 0x7FFF, 0x1_0000, 1 << 31, u32::MAX - 7, u32::MAX];

/// Makes an image of 16 MiB that claims to be much longer.
fn image_of_false_size(block_size: BlockSize) -> SparseImage {
    let options = Options {
        size: Size::Fixed(16 << 20),
        block_size,
        ..Options::new([7; 16])
    };
    let formatter = Formatter::new(SparseImage::default(), options).expect("it is a possible size");
    let (mut image, _) = formatter.finish(Tree::default()).expect("it fits");
    image.len = u64::MAX >> 1;
    image
}

/// Changes fields of the superblock, and corrects its checksum.
fn with_fields(image: &SparseImage, changes: &[(u64, u32)]) -> SparseImage {
    let mut image = image.clone();
    for (at, number) in changes {
        image.put(1024 + at, &number.to_le_bytes());
    }
    let sum = !crc32c::crc32c(&image.get(1024, 1020));
    image.put(2044, &sum.to_le_bytes());
    image
}

/// Calls everything that depends on the superblock alone, and ignores the results.
fn use_superblock(image: &SparseImage) {
    let image = image.clone().with_read_budget(BUDGET);
    if let Ok(report) = check(image.clone()) {
        assert!(report.findings.len() <= 1000);
    }
    let read = || -> Result<(), ReadError> {
        let reader = Reader::open(image)?;
        assert!(reader.info().block_size >= 1024);
        assert!(!ext4::read::superblock_fields::superblock_fields(&reader).is_empty());
        let root = reader.root()?;
        reader.read_dir(&root)?;
        reader.blocks(&root)?;
        reader.xattrs(&root)?;
        Ok(())
    };
    let _ = read();
}

#[test]
fn no_field_of_the_superblock_causes_an_overflow() {
    for block_size in [BlockSize::Kib1, BlockSize::Kib64] {
        let good = image_of_false_size(block_size);
        for at in fields() {
            for number in NUMBERS {
                use_superblock(&with_fields(&good, &[(at, number)]));
            }
        }
    }
}

#[test]
fn no_two_fields_of_the_superblock_cause_an_overflow() {
    // `s_blocks_count_hi`, `s_first_data_block`, `s_blocks_per_group`, `s_inodes_per_group`,
    // `s_reserved_gdt_blocks`, `s_inode_size`, `s_desc_size`, and `s_log_block_size`.
    let fields = [0x150, 0x14, 0x20, 0x28, 0xCC, 0x58, 0xFC, 0x18];
    let numbers = [0, 8, 0x7FFF, 0xFFFF_FFF8, 0x8000_0080, 6];
    let good = image_of_false_size(BlockSize::Kib4);
    for (index, first) in fields.into_iter().enumerate() {
        for second in &fields[index + 1..] {
            for number in numbers {
                for other in numbers {
                    use_superblock(&with_fields(&good, &[(first, number), (*second, other)]));
                }
            }
        }
    }
}

#[test]
fn an_inode_at_the_end_of_the_64_bit_range_causes_no_overflow() {
    // 2^48 blocks of 64 KiB, no checksums, and two inodes a block: the root's ends at offset 2^64.
    let changes = [(4, 0), (0x150, 1 << 16), (0x64, 0), (0x58, 1 << 15)];
    let mut image = with_fields(&image_of_false_size(BlockSize::Kib64), &changes);
    let table = ((1_u64 << 48) - 1).to_le_bytes();
    image.put((1 << 16) + 8, &table[..4]);
    image.put((1 << 16) + 0x28, &table[4..]);
    for ino in [2_u32, 7, 8] {
        // `s_journal_inum`, with `needs_recovery`
        use_superblock(&with_fields(&image, &[(0xE0, ino), (0x60, 0xC6)]));
    }
}
