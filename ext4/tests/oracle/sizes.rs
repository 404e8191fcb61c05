//! File systems of every size: the smallest, those at the edges of groups and backup superblocks,
//! the largest.

use std::fs::File;
use std::path::Path;

use ext4::{BlockSize, FormatError, Inodes, Journal, Options, Size};

use crate::setup::{self, MIB, Setup, assert_clean_and_usable, image_file};
use support::content::Content;
use support::model::Build;
use support::skip::skip;
use support::tools;

/// Makes an image of `bytes` bytes with one short file.
fn build(image: &Path, bytes: u64, change: impl FnOnce(&mut Options)) -> Result<(), FormatError> {
    let setup = Setup::small("of a size", |options| {
        options.size = Size::Fixed(bytes);
        change(options);
    });
    setup::build(image, &setup, |build, _| {
        build.add_file("file", Content::dense(1, 5000))
    })
    .map(drop)
}

#[test]
fn sizes_around_the_edges_of_groups_and_copies_are_clean() {
    if tools::are_missing(&["e2fsck"]) {
        return;
    }
    let image = image_file();
    for block_size in [BlockSize::Kib1, BlockSize::Kib2, BlockSize::Kib4] {
        let block = u64::from(block_size.bytes());
        let first_block = u64::from(block_size == BlockSize::Kib1);
        // The first groups, some without a backup superblock, and groups around the first powers of
        // 5 and 7.
        for group in [1, 2, 3, 4, 7, 8, 25, 26, 49] {
            let edge = first_block + group * 8 * block;
            for growth in [true, false] {
                for extra in [-1, 0, 1, 2, 3, 4, 66, 67, 130, 131, 258, 259, 260] {
                    let blocks = edge.checked_add_signed(extra).unwrap();
                    build(&image, blocks * block + 7, |options| {
                        options.block_size = block_size;
                        options.growth = growth;
                    })
                    .unwrap();
                    tools::assert_clean(&image, &format!("{blocks} blocks of {block} bytes, growth {growth}"));
                }
            }
        }
    }
}

#[test]
fn small_sizes_are_clean_or_too_small_and_never_anything_else() {
    if tools::are_missing(&["e2fsck"]) {
        return;
    }
    let image = image_file();
    let mut built = 0;
    for block_size in [BlockSize::Kib1, BlockSize::Kib4, BlockSize::Kib64] {
        for kib in [
            0, 1, 63, 64, 65, 100, 127, 128, 200, 300, 500, 512, 1000, 1024, 1025, 2047, 2048, 3000, 5000, 8191, 8192,
        ] {
            let made = build(&image, kib << 10, |options| {
                options.block_size = block_size;
                options.growth = false;
                options.journal = Journal::None;
            });
            match made {
                Ok(()) => {
                    built += 1;
                    tools::assert_clean(&image, &format!("{kib} KiB, blocks of {} bytes", block_size.bytes()));
                }
                Err(FormatError::NoSpace { needed, available }) => {
                    assert_eq!(available, kib << 10);
                    assert!(needed > available, "{needed} is no more than {available}");
                }
                Err(error) => panic!("{kib} KiB: {error}"),
            }
        }
    }
    assert!(built > 30, "only {built} of the sizes were enough");
}

#[test]
fn a_file_system_that_is_exactly_full_is_clean_and_can_lose_names() {
    for (block_size, mib) in [
        (BlockSize::Kib1, 16),
        (BlockSize::Kib2, 20),
        (BlockSize::Kib4, 24),
        (BlockSize::Kib4, 200),
    ] {
        let setup = Setup::small("full", |options| {
            options.block_size = block_size;
            options.size = Size::Fixed(mib * MIB);
        });
        let fill = |len| move |build: &mut Build<File>, _| build.add_file("file", Content::dense(1, len));
        let image = image_file();
        let (empty, _) = setup::build(&image, &setup, fill(0)).unwrap();
        let free = empty.size_bytes - empty.used_bytes;
        let (summary, _) = setup::build(&image, &setup, fill(free)).unwrap();
        assert_eq!(summary.used_bytes, summary.size_bytes);
        assert_clean_and_usable(std::slice::from_ref(&setup), fill(free));
        let error = setup::build(&image, &setup, fill(free + 1)).unwrap_err();
        assert!(matches!(error, FormatError::NoSpace { .. }), "{error}");
    }
}

#[test]
fn sizes_beyond_32_bits_of_blocks_are_clean() {
    if tools::are_missing(&["e2fsck"]) {
        return;
    }
    // Files on ext4 end before 16 TiB, and files in tmpfs do not.
    let Ok(image) = tempfile::NamedTempFile::new_in("/dev/shm") else {
        skip("/dev/shm does not take files of 16 TiB");
        return;
    };
    let image = image.into_temp_path();
    for (bytes, inode_ratio) in [((16 << 40) - 4096, 1 << 16), (17 << 40, 1 << 20)] {
        build(&image, bytes, |options| options.inodes = Inodes::PerBytes(inode_ratio)).unwrap();
        tools::assert_clean(&image, &format!("{bytes} bytes"));
    }
}
