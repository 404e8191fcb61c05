//! The bytes before the superblock.

use ext4::{BOOT_AREA_LEN, BlockSize, Formatter, Options, Size, Tree};

fn image(block_size: BlockSize, boot_area: &[u8; BOOT_AREA_LEN]) -> Vec<u8> {
    let options = Options {
        block_size,
        boot_area: *boot_area,
        size: Size::Fixed(16 << 20),
        ..Options::new([7; 16])
    };
    let formatter = Formatter::new(Vec::new(), options).expect("16 MiB are a file system");
    formatter.finish(Tree::default()).expect("16 MiB hold nothing").0
}

#[test]
fn the_boot_area_is_as_given_and_changes_nothing_else() {
    let mut boot_area = [0xA5; BOOT_AREA_LEN];
    boot_area[0] = 1;
    boot_area[BOOT_AREA_LEN - 1] = 2;
    for block_size in [BlockSize::Kib1, BlockSize::Kib2, BlockSize::Kib4] {
        let (with, without) = (image(block_size, &boot_area), image(block_size, &[0; BOOT_AREA_LEN]));
        assert_eq!(with[..BOOT_AREA_LEN], boot_area, "{block_size:?}");
        assert_eq!(without[..BOOT_AREA_LEN], [0; BOOT_AREA_LEN], "{block_size:?}");
        assert!(with[BOOT_AREA_LEN..] == without[BOOT_AREA_LEN..], "{block_size:?}");
    }
}
