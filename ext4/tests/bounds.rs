//! Limits on what [`ext4::check()`] reads: a small multiple of the bytes that an image contains,
//! whatever sizes it claims.

mod sparse;
mod superblock;

use std::iter;

use ext4::{
    BlockRole, BlockSize, Directory, Finding, Formatter, InodeId, Inodes, Journal, Kind, Metadata, Options, Problem,
    Reader, Size, StopReason, Structure, Tree,
};

use sparse::SparseImage;

/// Block size of most images here, in bytes.
const BLOCK_LEN: u64 = 1024;

/// Makes an image of `bytes` bytes, in blocks of 1 KiB.
fn image(bytes: u64, fill: impl FnOnce(&mut Formatter<SparseImage>, &mut Tree)) -> SparseImage {
    image_with(bytes, BlockSize::Kib1, 0, fill)
}

fn image_with(
    bytes: u64,
    block_size: BlockSize,
    inodes: u32,
    fill: impl FnOnce(&mut Formatter<SparseImage>, &mut Tree),
) -> SparseImage {
    let options = Options {
        size: Size::Fixed(bytes),
        block_size,
        inodes: Inodes::AtLeast(inodes),
        journal: Journal::None,
        ..Options::new([7; 16])
    };
    let mut formatter = Formatter::new(SparseImage::default(), options).expect("it is a possible size");
    let mut tree = Tree::default();
    fill(&mut formatter, &mut tree);
    formatter.finish(tree).expect("it fits").0
}

/// Turns off checksums, so that the check looks at damaged structures and does not only report
/// their checksum.
fn without_checksums(mut image: SparseImage) -> SparseImage {
    let features = image.get(1024 + 0x65, 1);
    image.put(1024 + 0x65, &[features[0] & !4]);
    image
}

fn add_directory(tree: &mut Tree, name: &str) -> InodeId {
    let kind = Kind::Directory(Directory::new());
    tree.insert(InodeId::ROOT, name.as_bytes(), Metadata::default(), kind)
        .expect("a new name")
}

/// Block size of an image, in bytes.
fn block_len(image: &SparseImage) -> u64 {
    BLOCK_LEN << image.u32_at(1024 + 0x18)
}

/// Offset of an inode in the image, in bytes.
fn inode_offset(image: &SparseImage, ino: u32) -> u64 {
    let per_group = image.u32_at(1024 + 0x28);
    let (group, index) = ((ino - 1) / per_group, (ino - 1) % per_group);
    let block = block_len(image);
    let descriptors = block.max(2 * BLOCK_LEN);
    let table = image.u32_at(descriptors + u64::from(group) * 64 + 8);
    u64::from(table) * block + u64::from(index) * 256
}

/// Inode number of an entry of the root directory.
fn ino_of(image: &SparseImage, name: &str) -> u32 {
    let reader = Reader::open(image.clone().with_read_budget(u64::MAX)).expect("it is an image");
    let root = reader.root().expect("there is a root");
    let entries = reader.read_dir(&root).expect("it is a good directory");
    let entry = entries.iter().find(|entry| *entry.name == *name.as_bytes());
    entry.expect("it was added").ino.get()
}

/// Encodes a node of an extent tree: header and entries.
fn extent_node(max: u16, depth: u16, entries: &[[u8; 12]]) -> Vec<u8> {
    let count = u16::try_from(entries.len()).expect("they fit into a block");
    let header = [0xF30A, count, max, depth, 0, 0].map(u16::to_le_bytes);
    [&header.concat(), entries.as_flattened()].concat()
}

/// Encodes an index entry: the node in `block` covers the file from block `logical` on.
fn index_entry(logical: u32, block: u32) -> [u8; 12] {
    let mut entry = [0; 12];
    entry[..4].copy_from_slice(&logical.to_le_bytes());
    entry[4..8].copy_from_slice(&block.to_le_bytes());
    entry
}

/// Encodes an extent.
fn leaf_entry(logical: u32, count: u16, block: u32) -> [u8; 12] {
    let mut entry = [0; 12];
    entry[..4].copy_from_slice(&logical.to_le_bytes());
    entry[4..6].copy_from_slice(&count.to_le_bytes());
    entry[8..].copy_from_slice(&block.to_le_bytes());
    entry
}

/// Returns the findings of a check that may read at most `times` times the bytes that the image
/// contains.
fn findings(image: SparseImage, times: u64) -> Vec<Finding> {
    let budget = times * image.written_len();
    findings_within(image, budget)
}

/// Returns the findings of a check that may also read 1,001 zero blocks.
fn findings_with_zero_blocks(image: SparseImage, times: u64) -> Vec<Finding> {
    let budget = times * image.written_len() + 1001 * block_len(&image);
    findings_within(image, budget)
}

fn findings_within(image: SparseImage, budget: u64) -> Vec<Finding> {
    let report = ext4::check(image.with_read_budget(budget)).expect("it is a file system");
    report.findings
}

/// Returns whether a finding has a code.
fn has_code(findings: &[Finding], code: &str) -> bool {
    findings.iter().any(|finding| finding.problem.code() == code)
}

/// Returns whether the check stopped early for a reason.
fn check_stopped(findings: &[Finding], reason: StopReason) -> bool {
    let last = findings.last();
    last.is_some_and(|last| last.problem == Problem::CheckStopped { reason })
}

/// Sets the size of a file in its inode, in bytes.
fn set_size(image: &mut SparseImage, at: u64, size: u64) {
    let [lo, hi] = [size & 0xFFFF_FFFF, size >> 32].map(|half| u32::try_from(half).expect("32 bits"));
    image.put(at + 4, &lo.to_le_bytes());
    image.put(at + 0x6C, &hi.to_le_bytes());
}

/// Number of the first of the last `count` blocks, which are free.
fn first_of_last_blocks(image: &SparseImage, count: u64) -> u32 {
    u32::try_from(image.len / BLOCK_LEN - count).expect("a small image")
}

#[test]
fn a_clean_image_is_read_at_most_twice() {
    let image = image(16 << 20, |_, tree| {
        for number in 0..1000 {
            add_directory(tree, &format!("{number}"));
        }
    });
    assert_eq!(findings(image, 2), []);
}

#[test]
fn a_sparse_file_system_of_256_gibibytes_is_read_at_most_twice() {
    let image = image(1 << 38, |_, _| {});
    assert_eq!(findings(image, 2), []);
}

#[test]
fn extent_nodes_with_repeated_children_are_read_once() {
    let mut image = without_checksums(image(16 << 20, |_, tree| {
        add_directory(tree, "directory");
    }));
    let at = inode_offset(&image, ino_of(&image, "directory"));
    let nodes = first_of_last_blocks(&image, 10);
    let leaf = leaf_entry(0, 1, image.u32_at(at + 0x28 + 20));
    image.put(u64::from(nodes) * BLOCK_LEN, &extent_node(84, 0, &[leaf]));
    for depth in 1..5 {
        let block = nodes + u32::from(depth);
        image.put(
            u64::from(block) * BLOCK_LEN,
            &extent_node(84, depth, &[index_entry(0, block - 1); 84]),
        );
    }
    image.put(at + 0x28, &extent_node(4, 5, &[index_entry(0, nodes + 4); 4]));
    assert!(!findings(image, 2).is_empty());
}

#[test]
fn a_block_map_with_repeated_blocks_is_read_once() {
    let mut image = without_checksums(image(16 << 20, |_, tree| {
        add_directory(tree, "directory");
    }));
    let at = inode_offset(&image, ino_of(&image, "directory"));
    let map = first_of_last_blocks(&image, 10);
    for level in 1..3 {
        let block = map + level;
        image.put(u64::from(block) * BLOCK_LEN, &(block - 1).to_le_bytes().repeat(256));
    }
    // No extents, but a triple-indirect block.
    let flags = image.get(at + 0x22, 1);
    image.put(at + 0x22, &[flags[0] & !8]);
    image.put(at + 0x28, &[0; 60]);
    image.put(at + 0x28 + 56, &(map + 2).to_le_bytes());
    assert!(!findings(image, 2).is_empty());
}

#[test]
fn blocks_shared_by_many_directories_are_read_once() {
    let mut image = without_checksums(image(32 << 20, |_, tree| {
        let large = add_directory(tree, "large");
        for number in 0..10_000 {
            let name = format!("{number:0>100}");
            tree.insert(large, name.as_bytes(), Metadata::default(), Kind::Fifo)
                .expect("a new name");
        }
        for number in 0..500 {
            add_directory(tree, &format!("{number}"));
        }
    }));
    let large = ino_of(&image, "large");
    let inode = image.get(inode_offset(&image, large), 256);
    // The inodes of the directories are consecutive.
    for ino in large + 1..large + 500 {
        let at = inode_offset(&image, ino);
        image.put(at, &inode);
    }
    assert!(!findings(image, 3).is_empty());
}

#[test]
fn a_value_shared_by_many_attributes_is_read_once() {
    let image = image(16 << 20, |formatter, tree| {
        for number in 0..1000 {
            let mut metadata = Metadata::default();
            let xattrs = &mut metadata.xattrs;
            xattrs.set(b"user.large", &vec![b'x'; 60_000]).expect("a good name");
            // A small attribute that differs keeps the inodes from sharing a block.
            let other = format!("user.{number:0>200}");
            xattrs.set(other.as_bytes(), b"").expect("a good name");
            let data = formatter.write_data(&b""[..], 0).expect("an empty file fits");
            let name = number.to_string();
            tree.insert(InodeId::ROOT, name.as_bytes(), metadata, Kind::File(data))
                .expect("a new name");
        }
    });
    assert_eq!(findings(image, 4), []);
}

#[test]
fn a_directory_of_zero_blocks_is_not_read_to_its_end() {
    for block_size in [BlockSize::Kib1, BlockSize::Kib64] {
        let mut image = without_checksums(image_with(1 << 38, block_size, 0, |_, tree| {
            add_directory(tree, "directory");
        }));
        let len = block_len(&image);
        let at = inode_offset(&image, ino_of(&image, "directory"));
        let leaf = u32::try_from(image.len / len - 10).expect("a small image");
        // After its own first block.
        let own = leaf_entry(0, 1, image.u32_at(at + 0x28 + 20));
        let first = leaf - (80 << 15).min(leaf / 2);
        let count = (leaf - first) >> 15;
        let holes = (0..count).map(|number| leaf_entry(1 + (number << 15), 1 << 15, first + (number << 15)));
        let extents: Vec<_> = iter::once(own).chain(holes).collect();
        let room = u16::try_from((len - 12) / 12).expect("a block is no longer");
        image.put(u64::from(leaf) * len, &extent_node(room, 0, &extents));
        image.put(at + 0x28, &extent_node(4, 1, &[index_entry(0, leaf)]));
        set_size(&mut image, at, (1 + (u64::from(count) << 15)) * len);
        // The check also reads the bitmaps and inode tables of the groups.
        let found = findings(image, 50);
        // With 1 KiB blocks, findings about the 32,768 groups fill the list.
        let is_listed = found.len() < 1000;
        assert!(
            !is_listed || has_code(&found, "directory-check-stopped"),
            "{:?}",
            found.last()
        );
    }
}

#[test]
fn the_check_stops_after_too_many_zero_directory_blocks() {
    let mut image = without_checksums(image_with(1 << 34, BlockSize::Kib64, 0, |_, tree| {
        for number in 0..400 {
            add_directory(tree, &number.to_string());
        }
    }));
    let len = block_len(&image);
    let holes = u32::try_from(image.len / len / 2).expect("a small image");
    let first = ino_of(&image, "0");
    for number in 0..400 {
        let at = inode_offset(&image, first + number);
        let own = leaf_entry(0, 1, image.u32_at(at + 0x28 + 20));
        image.put(
            at + 0x28,
            &extent_node(4, 0, &[own, leaf_entry(1, 16, holes + number * 16)]),
        );
        set_size(&mut image, at, 17 * len);
    }
    let found = findings_with_zero_blocks(image, 3);
    assert!(check_stopped(&found, StopReason::ZeroBlocks), "{:?}", found.last());
}

#[test]
fn the_check_stops_after_too_many_zero_node_blocks() {
    for has_extents in [true, false] {
        let mut image = without_checksums(image_with(1 << 34, BlockSize::Kib64, 0, |formatter, tree| {
            let data = formatter.write_data(&b"content"[..], 7).expect("it fits");
            tree.insert(InodeId::ROOT, b"file", Metadata::default(), Kind::File(data))
                .expect("a new name");
        }));
        let len = block_len(&image);
        let at = inode_offset(&image, ino_of(&image, "file"));
        let holes = u32::try_from(image.len / len / 2).expect("a small image");
        if has_extents {
            let entries: Vec<_> = (1..5000).map(|number| index_entry(number, holes + number)).collect();
            image.put(u64::from(holes) * len, &extent_node(5460, 1, &entries));
            image.put(at + 0x28, &extent_node(4, 2, &[index_entry(1, holes)]));
        } else {
            let numbers: Vec<u8> = (1..5000_u32)
                .flat_map(|number| (holes + number).to_le_bytes())
                .collect();
            image.put(u64::from(holes) * len, &numbers);
            let flags = image.get(at + 0x22, 1);
            image.put(at + 0x22, &[flags[0] & !8]);
            image.put(at + 0x28, &[0; 60]);
            image.put(at + 0x28 + 52, &holes.to_le_bytes());
        }
        let found = findings_with_zero_blocks(image, 3);
        assert!(check_stopped(&found, StopReason::ZeroBlocks), "{:?}", found.last());
    }
}

#[test]
fn a_file_system_of_264_tebibytes_has_nearly_2_to_the_32_inodes() {
    let options = Options {
        size: Size::Fixed(264 << 40),
        block_size: BlockSize::Kib64,
        ..Options::new([7; 16])
    };
    let formatter = Formatter::new(SparseImage::default(), options).expect("it is a possible size");
    let (image, _) = formatter.finish(Tree::default()).expect("it fits");
    let reader = Reader::open(image.with_read_budget(4096)).expect("it is an image");
    let inodes = reader.info().inode_count;
    assert!(inodes > u32::MAX / 100 * 99, "{inodes}");
}

#[test]
fn a_million_unwritten_groups_are_not_read() {
    for has_checksums in [true, false] {
        let options = Options {
            size: Size::Fixed(16 << 20),
            journal: Journal::None,
            ..Options::new([7; 16])
        };
        let formatter = Formatter::new(SparseImage::default(), options).expect("it is a possible size");
        let (mut image, _) = formatter.finish(Tree::default()).expect("it fits");
        if !has_checksums {
            image = without_checksums(image);
        }
        // A million groups of 128 MiB.
        image.len = 1 << 47;
        image.put(1024 + 4, &0_u32.to_le_bytes());
        image.put(1024 + 0x150, &8_u32.to_le_bytes());
        assert!(!findings(image, 4).is_empty());
    }
}

#[test]
fn an_inode_table_shared_by_many_groups_is_read_once() {
    let groups = 128;
    let mut image = without_checksums(image_with(groups << 23, BlockSize::Kib1, 1 << 18, |_, _| {}));
    let first = image.get(2 * BLOCK_LEN, 64);
    // All inodes are in use, besides the reserved ones.
    let table = u64::from(image.u32_at(2 * BLOCK_LEN + 8));
    let per_group = image.u32_at(1024 + 0x28);
    let mut fifo = [0; 256];
    fifo[..2].copy_from_slice(&0o10_644_u16.to_le_bytes());
    fifo[0x1A] = 1;
    image.put(table * BLOCK_LEN + 11 * 256, &fifo.repeat(per_group as usize - 11));
    for group in 1..groups {
        image.put(2 * BLOCK_LEN + group * 64, &first);
    }
    let found = findings(image, 3);
    assert!(
        found.iter().any(|finding| matches!(
            finding.problem,
            Problem::BlockClaimedTwice {
                role: BlockRole::InodeTable,
                ..
            }
        )),
        "{:?}",
        found.last()
    );
    // A group that was not read has no finding about its contents.
    assert!(
        !found
            .iter()
            .any(|finding| finding.structure == Structure::InodeBitmap { group: 1 }),
        "{:?}",
        found.last()
    );
}

#[test]
fn inodes_of_a_misplaced_table_are_not_reported_missing() {
    let mut image = without_checksums(image_with(64 << 20, BlockSize::Kib1, 3000, |_, tree| {
        for number in 0..2000 {
            add_directory(tree, &number.to_string());
        }
    }));
    assert!(image.u32_at(1024 + 0x28) < 2000);
    // The inode table of group 1.
    image.put(2 * BLOCK_LEN + 64 + 8, &[0; 4]);
    let found = findings(image, 3);
    let misplaced = Problem::GroupBlockMisplaced {
        block: 0,
        role: BlockRole::InodeTable,
    };
    assert!(found.iter().any(|finding| finding.problem == misplaced));
    for code in ["entry-inode-unused", "name-missing", "link-count-wrong"] {
        assert!(!has_code(&found, code), "{code}");
    }
}

#[test]
fn the_check_stops_after_too_many_misplaced_groups() {
    let mut image = without_checksums(image(16 << 30, |_, _| {}));
    let first = image.get(2 * BLOCK_LEN, 64);
    for group in 1..2048 {
        image.put(2 * BLOCK_LEN + group * 64, &first);
    }
    let found = findings(image, 4);
    assert!(check_stopped(&found, StopReason::MisplacedGroups), "{:?}", found.last());
}

/// Returns an image with 1,000 attribute inodes, and their offsets.
fn with_values() -> (SparseImage, Vec<u64>) {
    let image = without_checksums(image(32 << 20, |formatter, tree| {
        for number in 0..1000 {
            let mut metadata = Metadata::default();
            let value = format!("{number:0>5000}");
            metadata
                .xattrs
                .set(b"user.large", value.as_bytes())
                .expect("a good name");
            let data = formatter.write_data(&b""[..], 0).expect("an empty file fits");
            let name = number.to_string();
            tree.insert(InodeId::ROOT, name.as_bytes(), metadata, Kind::File(data))
                .expect("a new name");
        }
    }));
    let inodes = (11..image.u32_at(1024)).map(|ino| inode_offset(&image, ino));
    // `EXT4_EA_INODE_FL`
    let holders: Vec<u64> = inodes.filter(|at| image.get(at + 0x22, 1)[0] & 0x20 != 0).collect();
    assert_eq!(holders.len(), 1000);
    (image, holders)
}

#[test]
fn a_block_map_shared_by_many_values_is_read_up_to_the_size_of_a_value() {
    let (mut image, holders) = with_values();
    // No extents, but a double-indirect block that leads to 255 blocks of block numbers.
    let map = first_of_last_blocks(&image, 300);
    let numbers: Vec<u8> = (1..256).flat_map(|number| (map + number).to_le_bytes()).collect();
    image.put(u64::from(map) * BLOCK_LEN, &numbers);
    for number in 1..256 {
        let blocks: Vec<u8> = (0..256_u32)
            .flat_map(|index| (number * 97 + index).to_le_bytes())
            .collect();
        image.put(u64::from(map + number) * BLOCK_LEN, &blocks);
    }
    for at in holders {
        let flags = image.get(at + 0x22, 1);
        image.put(at + 0x22, &[flags[0] & !8]);
        image.put(at + 0x28, &[0; 60]);
        image.put(at + 0x28 + 52, &map.to_le_bytes());
    }
    assert!(!findings(image, 2).is_empty());
}

#[test]
fn an_extent_tree_shared_by_many_values_is_read_up_to_the_size_of_a_value() {
    let (mut image, holders) = with_values();
    let nodes = first_of_last_blocks(&image, 300);
    let indexes: Vec<_> = (1..85).map(|number| index_entry(number * 84, nodes + number)).collect();
    image.put(u64::from(nodes) * BLOCK_LEN, &extent_node(84, 1, &indexes));
    for number in 1..85 {
        let leaves = (0..84).map(|index| leaf_entry(number * 84 + index, 1, 100 + number * 84 + index));
        let leaves: Vec<_> = leaves.collect();
        image.put(u64::from(nodes + number) * BLOCK_LEN, &extent_node(84, 0, &leaves));
    }
    for at in holders {
        image.put(at + 0x28, &extent_node(4, 2, &[index_entry(84, nodes)]));
    }
    assert!(!findings(image, 2).is_empty());
}

#[test]
fn inodes_without_the_value_flag_are_not_read_as_values() {
    let (mut image, holders) = with_values();
    for at in holders.into_iter().take(100) {
        let flags = image.get(at + 0x22, 1);
        image.put(at + 0x22, &[flags[0] & !0x20]);
        // The field that would hold the hash of the value.
        image.put(at + 8, &[0; 4]);
    }
    let found = findings(image, 2);
    let is_wrong =
        |finding: &Finding| matches!(finding.problem, Problem::XattrValueReferencesWrong { expected: 1, .. });
    assert!(found.iter().any(is_wrong), "{:?}", found.first());
    assert!(!has_code(&found, "xattr-value-hash-wrong"));
}
