//! The needed size is exact to the MiB: content that is freed again does not count.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ext4::{
    BlockSize, Fit, FormatError, Formatter, InodeId, Inodes, Journal, Kind, Metadata, Options, Output, Size, Summary,
    Tree,
};
use proptest::collection::vec;
use proptest::prelude::*;

use support::check;

/// One MiB in bytes.
const MIB: u64 = 1 << 20;

/// A file that stays in the tree, or is removed and freed.
#[derive(Clone, Copy, Debug)]
pub(super) struct File {
    pub(super) len: u64,
    /// Data in every other block only.
    pub(super) sparse: bool,
    pub(super) freed: bool,
}

/// Makes an image of a fixed size. `with_freed` includes the files that are freed.
fn build(options: &Options, bytes: u64, files: &[File], with_freed: bool) -> Result<(Vec<u8>, Summary), FormatError> {
    let options = Options {
        size: Size::Fixed(bytes),
        ..options.clone()
    };
    build_into(Vec::new(), options, files, with_freed)
}

/// Makes an image in an output.
pub(super) fn build_into<O: Output>(
    output: O,
    options: Options,
    files: &[File],
    with_freed: bool,
) -> Result<(O, Summary), FormatError> {
    let block_size = u64::from(options.block_size.bytes());
    let mut formatter = Formatter::new(output, options)?;
    let mut tree = Tree::default();
    for (number, file) in files.iter().enumerate() {
        if file.freed && !with_freed {
            continue;
        }
        let content = std::io::repeat(1);
        let data = if file.sparse {
            let ranges = (0..file.len / block_size / 2).map(|index| 2 * index * block_size);
            let ranges: Vec<_> = ranges.map(|start| start..start + block_size).collect();
            formatter.write_sparse(content, file.len, &ranges)?
        } else {
            formatter.write_data(content, file.len)?
        };
        let name = number.to_string().into_bytes();
        tree.insert(InodeId::ROOT, &name, Metadata::default(), Kind::File(data))
            .unwrap();
        // Freed between the other files, which leaves a gap.
        if file.freed {
            for data in tree.remove(InodeId::ROOT, &name).unwrap() {
                formatter.free(data);
            }
        }
    }
    formatter.finish(tree)
}

/// Returns the needed size that the error for a size names.
fn needed(options: &Options, bytes: u64, files: &[File]) -> u64 {
    match build(options, bytes, files, true) {
        Err(FormatError::NoSpace { needed, available }) => {
            assert_eq!(available, bytes);
            needed
        }
        Err(error) => panic!("{error}"),
        Ok((_, summary)) => panic!("{bytes} bytes are enough: {summary:?}"),
    }
}

/// Asserts that smaller sizes name the smallest one that builds, and returns that.
fn assert_exact_size(options: &Options, files: &[File]) -> u64 {
    let smallest = needed(options, 0, files);
    assert_eq!(smallest % MIB, 0);
    for mib in [1, 2, 4].into_iter().filter(|mib| mib * MIB < smallest) {
        assert_eq!(needed(options, smallest - mib * MIB, files), smallest, "{mib} MiB less");
    }
    assert_eq!(needed(options, smallest / 2 / MIB * MIB, files), smallest, "half");
    let (image, summary) = build(options, smallest, files, true).unwrap();
    assert_eq!(summary.size_bytes, smallest);
    check::check(&image);
    let (_, without) = build(options, smallest, files, false).unwrap();
    assert_eq!(
        summary.used_bytes, without.used_bytes,
        "what passed through costs nothing"
    );
    smallest
}

pub(super) fn file() -> impl Strategy<Value = File> {
    let len = prop_oneof![0_u64..10_000, 0_u64..2_000_000];
    (len, any::<bool>(), any::<bool>()).prop_map(|(len, sparse, freed)| File { len, sparse, freed })
}

pub(super) fn options() -> impl Strategy<Value = Options> {
    let block_size = prop::sample::select(vec![BlockSize::Kib1, BlockSize::Kib2, BlockSize::Kib4]);
    let journal = prop::sample::select(vec![Journal::Auto, Journal::None, Journal::Bytes(1 << 20)]);
    let inodes = prop_oneof![Just(Inodes::AtLeast(0)), Just(Inodes::default())];
    (block_size, journal, inodes, any::<bool>()).prop_map(|(block_size, journal, inodes, growth)| Options {
        block_size,
        journal,
        inodes,
        growth,
        ..Options::new([3; 16])
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_size_that_is_too_small_names_the_smallest_that_builds(
        options in options(),
        files in vec(file(), 0..24),
    ) {
        assert_exact_size(&options, &files);
    }
}

#[test]
fn needed_sizes_are_exact_at_the_edges_of_groups() {
    // Groups of 8 MiB. The content grows by less than a block of descriptors, across edges with and
    // without a backup superblock.
    for growth in [true, false] {
        let options = Options {
            block_size: BlockSize::Kib1,
            journal: Journal::None,
            growth,
            ..Options::new([4; 16])
        };
        for edge in [1, 3] {
            for kib in (0..400).step_by(90) {
                let files = [
                    File {
                        len: MIB,
                        sparse: false,
                        freed: true,
                    },
                    File {
                        len: edge * 8 * MIB - (kib << 10),
                        sparse: false,
                        freed: false,
                    },
                ];
                assert_exact_size(&options, &files);
            }
        }
    }
}

#[test]
fn one_byte_more_than_the_free_space_needs_one_mebibyte_more() {
    for block_size in [BlockSize::Kib1, BlockSize::Kib4] {
        let options = Options {
            block_size,
            ..Options::new([5; 16])
        };
        let file = |len| {
            [File {
                len,
                sparse: false,
                freed: false,
            }]
        };
        let (_, empty) = build(&options, 20 * MIB, &file(0), true).unwrap();
        let free = empty.size_bytes - empty.used_bytes;
        let (_, full) = build(&options, 20 * MIB, &file(free), true).unwrap();
        assert_eq!(full.used_bytes, full.size_bytes);
        assert_eq!(needed(&options, 20 * MIB, &file(free + 1)), 21 * MIB);
    }
}

#[test]
fn a_minimum_above_the_maximum_counts_as_the_maximum() {
    for (min, max, expected) in [
        (8 << 20, 4 << 20, 4 << 20),
        (u64::MAX, 4 << 20, 4 << 20),
        (0, 4 << 20, 1 << 20),
    ] {
        let options = Options {
            size: Size::Fit(Fit {
                free: 0,
                free_percent: 0,
                min,
                max,
            }),
            journal: Journal::None,
            ..Options::new([7; 16])
        };
        let formatter = Formatter::new(Vec::new(), options).unwrap();
        let (image, _) = formatter.finish(Tree::default()).unwrap();
        assert_eq!(image.len(), expected, "from {min} to {max}");
    }
}

#[test]
fn at_most_half_of_the_blocks_are_reserved() {
    for (percent, expected) in [(50, 512), (51, 512), (255, 512)] {
        let options = Options {
            size: Size::Fixed(4 << 20),
            reserved_percent: percent,
            journal: Journal::None,
            ..Options::new([7; 16])
        };
        let formatter = Formatter::new(Vec::new(), options).unwrap();
        let (image, _) = formatter.finish(Tree::default()).unwrap();
        let reader = ext4::Reader::open(std::io::Cursor::new(image)).unwrap();
        assert_eq!(reader.info().reserved_block_count, expected, "{percent} %");
    }
}
