//! Large directories: most names, most levels of an index, and names with the same hash.

use std::fs::File;

use ext4::BlockSize;

use crate::setup::{Setup, assert_clean_and_usable, build, image_file};
use crate::shapes;
use support::content::Content;
use support::model::Build;
use support::tools;

/// Common prefix of names that have the same hash with the seed of [`Setup::small`].
const COLLIDING_PREFIX: [u8; 244] = [b'c'; 244];
/// Last 11 bytes of these names.
const COLLIDING: [&[u8; 11]; 8] = [
    b"ccc5922a489",
    b"cce1d0c3166",
    b"cce52aeb63b",
    b"cce72634117",
    b"ccee53e263d",
    b"ccf10c81a7b",
    b"ccfaa2192c2",
    b"cch54e11d40",
];

#[test]
fn a_directory_of_66_000_directories_has_a_link_count_of_1() {
    let setup = Setup::small("66,000 directories", |options| options.block_size = BlockSize::Kib1);
    assert_clean_and_usable(&[setup], |build, _| {
        build.add_directory("many");
        for number in 0..66_000 {
            build.add_directory(format!("many/{number}"));
        }
    });
}

#[test]
fn a_directory_of_65_000_links_still_counts_them() {
    let setup = Setup::small("64,998 directories", |options| options.block_size = BlockSize::Kib1);
    assert_clean_and_usable(&[setup], |build, _| {
        build.add_directory("many");
        for number in 0..64_998 {
            build.add_directory(format!("many/{number}"));
        }
    });
}

#[test]
fn an_index_of_three_levels_finds_every_name() {
    let setup = Setup::small("three levels", |options| options.block_size = BlockSize::Kib1);
    let shape = |build: &mut Build<File>, _| {
        // Three names fill a leaf. The root leads to up to 123 nodes, and each node to up to 126
        // leaves.
        build.add_directory("names");
        build.add_file("names/file", Content::dense(1, 1));
        for number in 0..3 * 124 * 126 {
            build.link(format!("names/{number:x>255}"), "names/file");
        }
    };
    assert_clean_and_usable(std::slice::from_ref(&setup), shape);
    if !tools::are_missing(&["debugfs"]) {
        let image = image_file();
        build(&image, &setup, shape).unwrap();
        let root = tools::stdout("debugfs", &["-R", "htree_dump /names"], &image);
        assert!(root.contains("Indirect levels: 2"), "{root:.500}");
    }
}

#[test]
fn checksums_of_an_index_are_valid_after_a_change_of_uuid() {
    if tools::are_missing(&["e2fsck", "tune2fs"]) {
        return;
    }
    // Three names fill a leaf. The numbers of leaves are around the capacity of the root, of a node
    // below it, and of a root of nodes.
    for leaves in [
        121,
        122,
        123,
        124,
        125,
        126,
        127,
        250,
        252,
        122 * 125,
        122 * 125 + 1,
        123 * 126,
    ] {
        let setup = Setup::small("another UUID", |options| options.block_size = BlockSize::Kib1);
        let image = image_file();
        build(&image, &setup, |build, _| {
            build.add_directory("names");
            build.add_file("names/file", Content::dense(1, 1));
            for number in 0..3 * leaves - 1 {
                build.link(format!("names/{number:x>255}"), "names/file");
            }
        })
        .unwrap();
        let tuned = tools::run("tune2fs", &["-U", "random"], &image);
        assert!(tuned.status.success(), "{leaves} leaves: {}", tools::text(&tuned));
        tools::assert_clean(&image, &format!("{leaves} leaves"));
    }
}

#[test]
fn full_blocks_keep_room_for_checksums_that_are_turned_off_and_on() {
    if tools::are_missing(&["e2fsck", "tune2fs"]) {
        return;
    }
    for block_size in [BlockSize::Kib1, BlockSize::Kib2, BlockSize::Kib4] {
        let setup = Setup::small("off and on", |options| options.block_size = block_size);
        let image = image_file();
        build(&image, &setup, shapes::full_directories).unwrap();
        for feature in ["^metadata_csum", "metadata_csum"] {
            let tuned = tools::run("tune2fs", &["-O", feature], &image);
            assert!(tuned.status.success(), "{feature}: {}", tools::text(&tuned));
            tools::assert_clean(&image, &format!("{feature}, {block_size:?}"));
        }
    }
}

#[test]
fn a_directory_of_a_million_names_finds_every_one() {
    assert_clean_and_usable(&[Setup::small("a million names", |_| {})], |build, _| {
        build.add_directory("names");
        for file in 0..16 {
            build.add_file(format!("names/{file}"), Content::dense(file, 1));
            for number in 1..62_500 {
                build.link(format!("names/{file} {number}"), format!("names/{file}"));
            }
        }
    });
}

#[test]
fn names_of_one_hash_are_found_in_every_leaf_that_they_fill() {
    // The number of other names determines the leaf in which the colliding ones begin.
    for others in 40..48 {
        for block_size in [BlockSize::Kib1, BlockSize::Kib2, BlockSize::Kib4] {
            let setup = Setup::small("names of one hash", |options| options.block_size = block_size);
            assert_clean_and_usable(&[setup], |build, _| put_colliding(build, others));
        }
    }
}

#[test]
fn an_index_marks_leaves_that_continue_the_hash_of_the_previous_one() {
    if tools::are_missing(&["debugfs"]) {
        return;
    }
    let setup = Setup::small("names of one hash", |options| options.block_size = BlockSize::Kib1);
    let image = image_file();
    build(&image, &setup, |build, _| put_colliding(build, 40)).unwrap();
    let index = tools::stdout("debugfs", &["-R", "htree_dump /names"], &image);
    // Eight names, three to a leaf, spread over three or four leaves. The first is not marked.
    let marked = index.matches("Hash 0x55555555,").count();
    assert!((2..=3).contains(&marked), "{index:.2000}");
}

/// Adds a directory of `others` other names and all that collide.
fn put_colliding(build: &mut Build<File>, others: u32) {
    build.add_directory("names");
    build.add_file("names/file", Content::dense(1, 1));
    for number in 0..others {
        build.link(format!("names/{number:o>200}"), "names/file");
    }
    for end in COLLIDING {
        build.link([&b"names/"[..], &COLLIDING_PREFIX, end].concat(), "names/file");
    }
}

#[test]
fn the_colliding_names_have_one_hash() {
    if tools::are_missing(&["debugfs"]) {
        return;
    }
    let image = image_file();
    build(&image, &Setup::small("any", |_| {}), |_, _| {}).unwrap();
    let hashes: Vec<String> = COLLIDING
        .iter()
        .map(|end| {
            let name = String::from_utf8([&COLLIDING_PREFIX[..], *end].concat()).unwrap();
            let hash = format!("dx_hash -h half_md4 -s 6f726163-6c65-206f-6620-696d61676573 {name}");
            let output = tools::stdout("debugfs", &["-R", &hash], &image);
            output
                .split(" is ")
                .nth(1)
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}
