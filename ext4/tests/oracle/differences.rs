//! Compares `dumpe2fs -h` of an empty image with that of a file system of the same size by mke2fs.

use std::collections::BTreeSet;
use std::fs::File;

use ext4::{Options, Size};

use crate::setup::{self, MIB, Setup, image_file};
use crate::shapes;
use support::tools;

/// Fields that differ at every size, and why.
const ALWAYS: [(&str, &str); 7] = [
    (
        "Reserved block count",
        "an option, 0 by default: a guest's image has no other users to protect from",
    ),
    (
        "Filesystem created",
        "an option, 0 by default: images do not depend on the clock",
    ),
    ("Last write time", "the same"),
    ("Last checked", "the same"),
    (
        "Lifetime writes",
        "not counted: the image was never a mounted file system",
    ),
    (
        "Overhead clusters",
        "left 0: the kernel then counts the overhead at each mount",
    ),
    ("Checksum", "covers all fields, so it differs with any of them"),
];

/// Fields that also differ where the image reserves descriptors for 1 TiB, and mke2fs for 1,024
/// times the size.
const OTHER_ROOM_TO_GROW: [(&str, &str); 2] = [
    (
        "Reserved GDT blocks",
        "room for 1 TiB or 16 times the size, whichever is more; mke2fs reserves for 1,024 times",
    ),
    ("Free blocks", "depends on the reserved blocks"),
];

/// Fields that also differ below 512 MiB. There, mke2fs uses blocks of 1 KiB and an inode for each
/// 4 KiB; this crate uses the same block size and inode ratio at all sizes.
const SMALL: [&str; 14] = [
    "Block size",
    "Fragment size",
    "First block",
    "Block count",
    "Blocks per group",
    "Fragments per group",
    "Inode count",
    "Inodes per group",
    "Inode blocks per group",
    "Free inodes",
    "Free blocks",
    "Reserved GDT blocks",
    "Max transaction length",
    "Total journal blocks",
];

/// Returns the fields in which an empty file system with default options differs from that of
/// `mke2fs -t ext4`.
fn differing(mib: u64) -> BTreeSet<String> {
    let options = Options {
        size: Size::Fixed(mib * MIB),
        ..Options::new(*b"oracle of images")
    };
    let (ours, theirs) = (image_file(), image_file());
    setup::build(
        &ours,
        &Setup {
            name: "default",
            options,
        },
        shapes::empty,
    )
    .unwrap();
    File::options()
        .write(true)
        .open(&theirs)
        .unwrap()
        .set_len(mib * MIB)
        .unwrap();
    let uuid = "6f726163-6c65-206f-6620-696d61676573";
    let hash_seed = format!("hash_seed={uuid}");
    // Recent versions of mke2fs set these features by default, Debian's does not. Kernels before
    // 5.15 do not know `orphan_file`, and tools of that time do not know `metadata_csum_seed`.
    let features = "^metadata_csum_seed,^orphan_file";
    let arguments = ["-q", "-F", "-t", "ext4", "-U", uuid, "-E", &hash_seed, "-O", features];
    tools::stdout("mke2fs", &arguments, &theirs);
    let (ours, theirs) = (tools::superblock_fields(&ours), tools::superblock_fields(&theirs));
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    names
        .into_iter()
        .filter(|&name| ours.get(name) != theirs.get(name))
        .cloned()
        .collect()
}

#[test]
fn an_empty_file_system_differs_from_that_of_mke2fs_in_known_fields_only() {
    if tools::are_missing(&["mke2fs", "dumpe2fs"]) {
        return;
    }
    let names = |fields: &[(&'static str, &str)]| fields.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let (always, room) = (names(&ALWAYS), names(&OTHER_ROOM_TO_GROW));
    for (mib, others) in [
        (64, &SMALL[..]),
        (512, &room[..]),
        (1024, &[]),
        (4096, &room),
        (20_000, &room),
    ] {
        let expected: BTreeSet<String> = always.iter().chain(others).map(|&name| name.to_owned()).collect();
        assert_eq!(differing(mib), expected, "{mib} MiB");
    }
}
