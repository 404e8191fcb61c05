//! What [`ext4::check()`] costs: no more than the bytes that an image really has, whatever it claims.

mod sparse;

use ext4::{BlockSize, Data, Directory, Formatter, InodeId, Journal, Kind, Metadata, Options, Size, Tree};

use sparse::Sparse;

/// Size of the blocks of the images here, in bytes.
const BLOCK: usize = 1024;

/// Makes an image of so many MiB in blocks of 1 KiB.
fn image(mib: u64, fill: impl FnOnce(&mut Formatter<Vec<u8>>, &mut Tree)) -> Vec<u8> {
    let options = Options {
        size: Size::Fixed(mib << 20),
        block_size: BlockSize::Kib1,
        journal: Journal::None,
        ..Options::new([7; 16])
    };
    let mut formatter = Formatter::new(Vec::new(), options).expect("it is a possible size");
    let mut tree = Tree::default();
    fill(&mut formatter, &mut tree);
    formatter.finish(tree).expect("it fits").0
}

/// The same without checksums, which would say all that is to be said.
fn without_checksums(mut image: Vec<u8>) -> Vec<u8> {
    image[1024 + 0x65] &= !4;
    image
}

fn directory(tree: &mut Tree, name: &str) -> InodeId {
    let kind = Kind::Directory(Directory::new());
    tree.insert(InodeId::ROOT, name.as_bytes(), Metadata::default(), kind)
        .expect("a new name")
}

fn file(tree: &mut Tree, name: &str, metadata: Metadata, data: Data) {
    tree.insert(InodeId::ROOT, name.as_bytes(), metadata, Kind::File(data))
        .expect("a new name");
}

fn u32_at(image: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(image[at..at + 4].try_into().expect("four bytes"))
}

/// Where an inode is.
fn inode_at(image: &[u8], ino: u32) -> usize {
    let per_group = u32_at(image, 1024 + 0x28);
    let (group, index) = ((ino - 1) / per_group, (ino - 1) % per_group);
    let table = u32_at(image, 2 * BLOCK + group as usize * 64 + 8);
    table as usize * BLOCK + index as usize * 256
}

/// The number of an inode that the root has.
fn ino_of(image: &[u8], name: &str) -> u32 {
    let mut reader = ext4::Reader::open(std::io::Cursor::new(image)).expect("it is an image");
    let root = reader.root().expect("there is a root");
    let entries = reader.entries(&root).expect("it is a good directory");
    let entry = entries.iter().find(|entry| *entry.name == *name.as_bytes());
    entry.expect("it was added").ino.get()
}

/// A node of an extent tree: its header, and the same entry so many times.
fn node(count: u16, max: u16, depth: u16, entry: [u8; 12]) -> Vec<u8> {
    let header = [0xF30A, count, max, depth, 0, 0].map(u16::to_le_bytes);
    let mut node = header.concat();
    node.extend(entry.repeat(count.into()));
    node
}

/// An entry that leads to a node.
fn index_entry(block: u32) -> [u8; 12] {
    let mut entry = [0; 12];
    entry[4..8].copy_from_slice(&block.to_le_bytes());
    entry
}

/// Checks an image, of which no more may be read than so many times its size, and says whether anything was found.
fn is_damaged(image: Vec<u8>, times: u64) -> bool {
    let budget = times * image.len() as u64;
    let report = ext4::check(Sparse::new(image, budget)).expect("it is a file system");
    !report.is_clean()
}

#[test]
fn a_good_image_is_read_about_once() {
    let image = image(16, |_, tree| {
        for number in 0..1000 {
            directory(tree, &format!("{number}"));
        }
    });
    assert!(!is_damaged(image, 2));
}

#[test]
fn nodes_that_lead_to_one_node_many_times_are_looked_into_once() {
    let mut image = without_checksums(image(16, |_, tree| {
        directory(tree, "directory");
    }));
    let at = inode_at(&image, ino_of(&image, "directory"));
    let leaf = [&[0, 0, 0, 0, 1, 0, 0, 0], &image[at + 0x28 + 20..at + 0x28 + 24]].concat();
    let leaf: [u8; 12] = leaf.try_into().expect("12 bytes");
    // At the end, where nothing else is.
    let nodes = u32::try_from(image.len() / BLOCK).expect("a small image") - 10;
    for depth in 0..5u16 {
        let entry = match depth {
            0 => leaf,
            _ => index_entry(nodes + u32::from(depth) - 1),
        };
        let count = if depth == 0 { 1 } else { 84 };
        let start = (nodes as usize + usize::from(depth)) * BLOCK;
        let node = node(count, 84, depth, entry);
        image[start..start + node.len()].copy_from_slice(&node);
    }
    image[at + 0x28..at + 0x28 + 60].copy_from_slice(&node(4, 4, 5, index_entry(nodes + 4)));
    assert!(is_damaged(image, 2));
}

#[test]
fn a_map_of_one_block_many_times_is_looked_into_once() {
    let mut image = without_checksums(image(16, |_, tree| {
        directory(tree, "directory");
    }));
    let at = inode_at(&image, ino_of(&image, "directory"));
    let map = u32::try_from(image.len() / BLOCK).expect("a small image") - 10;
    for level in 0..3 {
        let start = (map as usize + level) * BLOCK;
        let below = if level == 0 { [0; 4] } else { (map + u32::try_from(level).expect("a few") - 1).to_le_bytes() };
        image[start..start + BLOCK].copy_from_slice(&below.repeat(BLOCK / 4));
    }
    // No extents, but a triple-indirect block.
    image[at + 0x22] &= !8;
    image[at + 0x28..at + 0x28 + 60].fill(0);
    image[at + 0x28 + 56..at + 0x28 + 60].copy_from_slice(&(map + 2).to_le_bytes());
    assert!(is_damaged(image, 2));
}

#[test]
fn blocks_that_many_directories_share_are_read_for_one() {
    let mut image = without_checksums(image(32, |_, tree| {
        let large = directory(tree, "large");
        for number in 0..20_000 {
            tree.insert(large, format!("{number:0>100}").as_bytes(), Metadata::default(), Kind::Fifo)
                .expect("a new name");
        }
        for number in 0..2000 {
            directory(tree, &format!("{number}"));
        }
    }));
    let large = inode_at(&image, ino_of(&image, "large"));
    let map = image[large..large + 256].to_vec();
    for number in 0..2000 {
        let at = inode_at(&image, ino_of(&image, &number.to_string()));
        image[at..at + 256].copy_from_slice(&map);
    }
    assert!(is_damaged(image, 3));
}
