//! Test of the oracle itself: e2fsck notices a flipped bit of metadata.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use ext4::{BlockSize, Journal};

use crate::setup::image_file;
use support::model::Build;
use support::reader::{JOURNAL, Reader};
use support::samples::{fit_options, put_every_kind, put_indexed_directory};
use support::{check, tools};

/// Number of bytes to change in each structure, evenly spread.
const BYTES_PER_STRUCTURE: usize = 14;

/// Returns the bytes of a structure that have a meaning and that e2fsck 1.47 checks.
fn metadata(reader: &Reader<'_>, structure: &str, range: Range<u64>) -> Range<u64> {
    let first = |len| range.start..range.start + len;
    let (descriptors, reserved) = reader.descriptor_blocks();
    if let Some(ino) = structure.strip_prefix("content of inode ") {
        let ino = ino.parse().unwrap();
        let is_start = reader.blocks(ino).extents[0].start * reader.block_size() == range.start;
        return match ino {
            // Magic number and version of the journal. Its length is compared with the inode's by
            // the kernel, but not by e2fsck.
            JOURNAL if is_start => first(8),
            // The checksum of an index node does not cover the room after its entries, two here.
            ino if reader.is_indexed(ino) && is_start => first(24 + 8 + 2 * 8),
            ino if reader.is_directory(ino) => range,
            // Contents of files have no checksum.
            _ => first(0),
        };
    }
    match structure {
        // The boot block has no checksum. The reserved blocks list their backups in other groups,
        // and this image has one group.
        "boot block" | "reserved descriptors of group 0" => first(0),
        "descriptors of group 0" => first(64 * reader.group_count()),
        // `check_resize_inode` compares the first quarter.
        "map of the reserved descriptors" => {
            range.start + 4 * descriptors..range.start + 4 * (descriptors + reserved / 4)
        }
        _ => range,
    }
}

#[test]
fn e2fsck_notices_a_changed_bit_of_metadata() {
    if tools::are_missing(&["e2fsck"]) {
        return;
    }
    let mut options = fit_options();
    options.block_size = BlockSize::Kib1;
    options.journal = Journal::Bytes(1 << 20);
    let mut build = Build::new(Vec::new(), options).unwrap();
    put_every_kind(&mut build);
    put_indexed_directory(&mut build);
    let (image, ..) = build.finish().unwrap();
    let reader = Reader::new(&image);

    let mut structures = BTreeMap::<String, Vec<u64>>::new();
    for (range, structure) in check::structures(&image) {
        let metadata = metadata(&reader, &structure, range);
        structures.entry(structure).or_default().extend(metadata);
    }
    let path = image_file();
    fs::write(&path, &image).unwrap();
    tools::assert_clean(&path, "unchanged");
    let file = File::options().write(true).open(&path).unwrap();
    let mut tried = 0;
    let mut unnoticed = Vec::new();
    for (structure, offsets) in &structures {
        for &at in offsets
            .iter()
            .step_by(offsets.len().div_ceil(BYTES_PER_STRUCTURE).max(1))
        {
            let byte = image[usize::try_from(at).unwrap()];
            let bit = at % 8;
            file.write_all_at(&[byte ^ 1 << bit], at).unwrap();
            tried += 1;
            if tools::problems(&path).is_none() {
                unnoticed.push(format!("{structure}, {} bytes in, bit {bit}", at - offsets[0]));
            }
            file.write_all_at(&[byte], at).unwrap();
        }
    }
    assert!(tried > 300, "only {tried} bits");
    assert!(unnoticed.is_empty(), "{} of {tried}: {unnoticed:#?}", unnoticed.len());
}
