//! A check of images in memory, by [`ext4::check()`] and by code of its own: each block has one
//! owner or is free and zero, and all counts are correct.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::ops::Range;
use std::rc::Rc;

use super::reader::{JOURNAL, RESIZE, ROOT, Reader};

/// The structure that each block in use belongs to, by block number.
pub type Owners = BTreeMap<u64, Rc<str>>;

/// Asserts that an image is consistent, and returns the owner of each block in use.
pub fn check(image: &[u8]) -> Owners {
    let report = ext4::check(Cursor::new(image)).expect("it is a file system");
    assert!(report.is_clean(), "{report:#?}");
    let reader = Reader::new(image);
    let mut owners = Owners::new();
    claim_group_metadata(&reader, &mut owners);
    let names = claim_files(&reader, &mut owners);
    check_links(&reader, &names);
    check_inodes(&reader, &names);
    check_blocks(&reader, &owners);
    owners
}

/// Asserts that no two findings of a check are equal.
pub fn assert_distinct(report: &ext4::CheckReport) {
    let mut seen = BTreeSet::new();
    let repeated = report.findings.iter().find(|&finding| !seen.insert(finding));
    assert_eq!(repeated, None, "{report:#?}");
}

/// Names by inode number. A directory also has its own `.` and the `..` of each subdirectory.
type NamesByInode = BTreeMap<u32, Vec<Vec<u8>>>;

/// Records the owner of blocks, and panics if a block has one already.
fn claim(owners: &mut Owners, blocks: impl IntoIterator<Item = u64>, owner: &str) {
    let owner: Rc<str> = owner.into();
    for block in blocks {
        if let Some(other) = owners.insert(block, Rc::clone(&owner)) {
            panic!("block {block} belongs to {other} and to {owner}");
        }
    }
}

/// Claims the superblock and its backups, group descriptors, bitmaps and inode tables.
fn claim_group_metadata(reader: &Reader<'_>, owners: &mut Owners) {
    let (descriptors, reserved) = reader.descriptor_blocks();
    if reader.first_block() == 1 {
        claim(owners, [0], "boot block");
    }
    for group in 0..reader.group_count() {
        let descriptor = reader.group(group);
        if has_backup(group) {
            let start = reader.group_start(group);
            claim(owners, [start], &format!("superblock of group {group}"));
            let after = start + 1 + descriptors;
            claim(owners, start + 1..after, &format!("descriptors of group {group}"));
            claim(
                owners,
                after..after + reserved,
                &format!("reserved descriptors of group {group}"),
            );
        }
        claim(
            owners,
            [descriptor.block_bitmap],
            &format!("block bitmap of group {group}"),
        );
        claim(
            owners,
            [descriptor.inode_bitmap],
            &format!("inode bitmap of group {group}"),
        );
        let table_len = (u64::from(reader.inodes_per_group()) * 256).div_ceil(reader.block_size());
        let table = descriptor.inode_table..descriptor.inode_table + table_len;
        claim(owners, table, &format!("inode table of group {group}"));
    }
}

fn has_backup(group: u64) -> bool {
    let is_power = |base: u64| {
        (1..=u32::MAX)
            .map(|power| base.pow(power))
            .take_while(|&power| power <= group)
            .any(|power| power == group)
    };
    group < 2 || is_power(3) || is_power(5) || is_power(7)
}

/// Claims the contents of all files, reserved inodes included, and returns all names.
fn claim_files(reader: &Reader<'_>, owners: &mut Owners) -> NamesByInode {
    let mut names = NamesByInode::from([(ROOT, vec![])]);
    let mut references = BTreeMap::<u64, u32>::new();
    let mut value_references = BTreeMap::<u32, u32>::new();
    let mut pending = vec![ROOT];
    for ino in [JOURNAL, RESIZE] {
        if reader.mode(ino) != 0 {
            claim_content(reader, ino, owners);
        }
    }
    while let Some(ino) = pending.pop() {
        claim_content(reader, ino, owners);
        let block = reader.xattr_block(ino);
        if block != 0 {
            let users = references.entry(block).or_default();
            *users += 1;
            // The block's entries refer to the values once, no matter how many inodes share it.
            let values = if *users == 1 { reader.value_inodes(ino) } else { vec![] };
            for value in values {
                *value_references.entry(value).or_default() += 1;
            }
        }
        if !reader.is_directory(ino) {
            continue;
        }
        for entry in reader.read_dir(ino) {
            assert_eq!(
                entry.file_type,
                entry_type(reader.mode(entry.ino)),
                "kind of {:?}",
                entry.name
            );
            let known = names.entry(entry.ino).or_default();
            if known.is_empty() && entry.ino != ROOT {
                pending.push(entry.ino);
            }
            known.push(entry.name);
        }
    }
    for (block, expected) in references {
        claim(owners, [block], "extended attributes");
        assert_eq!(
            reader.xattr_references(block),
            expected,
            "inodes with the attributes in block {block}"
        );
    }
    for (ino, expected) in value_references {
        claim_content(reader, ino, owners);
        assert_eq!(
            reader.value_references(ino),
            Some(expected),
            "attributes whose value is in inode {ino}"
        );
        names.insert(ino, vec![b"(value)".to_vec()]);
    }
    names
}

/// Kind of file in a directory's entry (`EXT4_FT_*`).
fn entry_type(mode: u16) -> u8 {
    match mode >> 12 {
        0o01 => 5,
        0o02 => 3,
        0o04 => 2,
        0o06 => 4,
        0o10 => 1,
        0o12 => 7,
        0o14 => 6,
        other => panic!("an inode of kind {other:o}"),
    }
}

fn claim_content(reader: &Reader<'_>, ino: u32, owners: &mut Owners) {
    let blocks = reader.blocks(ino);
    let values = reader.value_inodes(ino).into_iter();
    let mut count = u64::from(reader.xattr_block(ino) != 0)
        + blocks.nodes.len() as u64
        + values
            .map(|value| reader.size(value).div_ceil(reader.block_size()))
            .sum::<u64>();
    let mut end = 0;
    for extent in &blocks.extents {
        assert!(extent.logical >= end, "extents of inode {ino} that are out of order");
        end = extent.logical + extent.count;
        count += extent.count;
        claim(
            owners,
            extent.start..extent.start + extent.count,
            &format!("content of inode {ino}"),
        );
    }
    assert!(
        end <= reader.size(ino).div_ceil(reader.block_size()),
        "blocks beyond the end of inode {ino}"
    );
    claim(owners, blocks.nodes, &format!("extents of inode {ino}"));
    if ino == RESIZE {
        // Its map has no extents: the block in `i_block[13]` lists the reserved descriptor blocks
        // of group 0, and each of these lists its backups in the other groups. Those are claimed
        // already.
        let map = reader.u32_at(reader.inode_offset(ino) + 0x28 + 4 * 13);
        claim(owners, [map.into()], "map of the reserved descriptors");
        let copies = (0..reader.group_count()).filter(|&group| has_backup(group)).count() as u64;
        count = 1 + reader.descriptor_blocks().1 * copies;
    }
    assert_eq!(
        reader.sectors(ino),
        count * (reader.block_size() / 512),
        "blocks of inode {ino}"
    );
}

fn check_links(reader: &Reader<'_>, names: &NamesByInode) {
    for (&ino, names) in names {
        // The root is its own parent. Another directory has a name, its `.`, and the `..` of each
        // subdirectory.
        let expected = if names.len() > 65_000 { 1 } else { names.len() as u64 };
        assert_eq!(reader.links(ino), expected, "links of inode {ino}");
    }
}

/// Checks the inode bitmaps, and the counts of inodes and directories.
fn check_inodes(reader: &Reader<'_>, names: &NamesByInode) {
    let mut free = 0;
    for group in 0..reader.group_count() {
        let descriptor = reader.group(group);
        let numbers = 1 + u32::try_from(group).unwrap() * reader.inodes_per_group()..;
        let numbers = numbers.take(reader.inodes_per_group() as usize);
        let bitmap = reader.block(descriptor.inode_bitmap);
        let mut unused = 0;
        let mut directories = 0;
        for (index, ino) in numbers.enumerate() {
            // The first ten are reserved.
            let is_used = ino <= 10 || names.contains_key(&ino);
            directories += u32::from(names.contains_key(&ino) && reader.is_directory(ino));
            unused += u32::from(!is_used);
            if !descriptor.inodes_uninit {
                assert_eq!(bit(bitmap, index), is_used, "bit of inode {ino}");
            }
            assert!(is_used || reader.mode(ino) == 0, "inode {ino} has no name");
        }
        assert!(!descriptor.inodes_uninit || unused == reader.inodes_per_group());
        assert_eq!(descriptor.free_inodes, unused, "free inodes of group {group}");
        assert_eq!(
            descriptor.unused_inodes, unused,
            "inodes of group {group} that were never used"
        );
        assert_eq!(descriptor.directories, directories, "directories of group {group}");
        free += unused;
    }
    assert_eq!(reader.free_inode_count(), free, "free inodes");
}

/// Checks the block bitmaps, the counts of free blocks, and that free blocks are zero.
fn check_blocks(reader: &Reader<'_>, owners: &Owners) {
    let zeros = vec![0; usize::try_from(reader.block_size()).unwrap()];
    let mut free = 0;
    for group in 0..reader.group_count() {
        let descriptor = reader.group(group);
        let blocks = reader.group_start(group)..reader.group_start(group + 1).min(reader.block_count());
        let bitmap = reader.block(descriptor.block_bitmap);
        let mut free_in_group = 0;
        for (index, block) in blocks.enumerate() {
            let is_used = owners.contains_key(&block);
            free_in_group += u32::from(!is_used);
            if !descriptor.blocks_uninit {
                assert_eq!(
                    bit(bitmap, index),
                    is_used,
                    "bit of block {block}: {:?}",
                    owners.get(&block)
                );
            }
            assert!(
                is_used || reader.block(block) == &zeros[..],
                "free block {block} is not zero"
            );
        }
        assert_eq!(descriptor.free_blocks, free_in_group, "free blocks of group {group}");
        free += u64::from(free_in_group);
    }
    assert_eq!(reader.free_block_count(), free, "free blocks");
}

fn bit(bitmap: &[u8], index: usize) -> bool {
    bitmap[index / 8] >> (index % 8) & 1 == 1
}

/// Returns the byte range and the name of every structure and every block of content, in the order
/// of blocks. Inodes that are not in use are omitted.
pub fn structures(image: &[u8]) -> Vec<(Range<u64>, String)> {
    let owners = check(image);
    let reader = Reader::new(image);
    let mut structures = Vec::new();
    for (block, owner) in owners {
        let start = block * reader.block_size();
        let range = start..start + reader.block_size();
        if &*owner == "superblock of group 0" {
            structures.push((1024..2048, owner.to_string()));
        } else if owner.starts_with("inode table") {
            let inodes = (1..=reader.inode_count()).map(|ino| (reader.inode_offset(ino), ino));
            for (at, ino) in inodes.filter(|(at, _)| range.contains(at)) {
                if reader.block(block)[usize::try_from(at - start).unwrap()..][..256] != [0; 256] {
                    structures.push((at..at + 256, format!("inode {ino}")));
                }
            }
        } else {
            structures.push((range, owner.to_string()));
        }
    }
    structures
}
