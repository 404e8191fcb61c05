//! Growing and shrinking images, with resize2fs and in the kernel.

use std::fs::File;
use std::path::Path;

use ext4::{BlockSize, Fit, Journal, Options, Size};

use crate::setup::{self, MIB, Setup, image_file};
use crate::shapes;
use support::kernel::{self, Mount};
use support::model::{Build, Model};
use support::tools;

/// File systems that can grow, from a small one to the default.
fn setups() -> Vec<Setup> {
    let fixed = |block_size, mib| {
        move |options: &mut Options| {
            options.block_size = block_size;
            options.size = Size::Fixed(mib * MIB);
        }
    };
    vec![
        Setup::small("16 MiB of 1 KiB blocks", fixed(BlockSize::Kib1, 16)),
        Setup::small("100 MiB of 1 KiB blocks", fixed(BlockSize::Kib1, 100)),
        Setup::small("100 MiB of 2 KiB blocks", fixed(BlockSize::Kib2, 100)),
        Setup::small("16 MiB of 4 KiB blocks", fixed(BlockSize::Kib4, 16)),
        Setup::small("500 MiB of 4 KiB blocks", fixed(BlockSize::Kib4, 500)),
        Setup::small("just over a group", |options| options.size = Size::Fixed(137 * MIB)),
        Setup::small("no journal", |options| {
            options.journal = Journal::None;
            options.size = Size::Fixed(64 * MIB);
        }),
        Setup::small("what fits", |_| {}),
        Setup::small("1 GiB", |options| options.size = Size::Fit(Fit::default())),
    ]
}

/// Makes an image, and extends its file to 16 times the size.
fn build_and_extend(image: &Path, setup: &Setup) -> Model {
    let (summary, model) = setup::build(image, setup, shapes::churn).unwrap();
    let file = File::options().write(true).open(image).unwrap();
    file.set_len(16 * summary.size_bytes).unwrap();
    model
}

fn assert_grown(image: &Path, setup: &Setup) {
    tools::assert_clean(image, setup.name);
    let blocks = tools::superblock_field(image, "Block count");
    let size = blocks.parse::<u64>().unwrap() * setup.block_size();
    let expected = image.metadata().unwrap().len();
    // resize2fs omits a last group without room for more than its metadata.
    assert!(expected - size < 8 * MIB, "{}: {size} of {expected} bytes", setup.name);
}

#[test]
fn an_image_grows_to_16_times_its_size_offline() {
    if tools::are_missing(&["e2fsck", "resize2fs", "dumpe2fs"]) {
        return;
    }
    for setup in setups() {
        let image = image_file();
        let model = build_and_extend(&image, &setup);
        let resized = tools::run::<&str>("resize2fs", &[], &image);
        assert!(resized.status.success(), "{}: {}", setup.name, tools::text(&resized));
        assert_grown(&image, &setup);
        if !kernel::cannot_mount() {
            let mount = Mount::new(&image);
            kernel::assert_equal(&model, mount.path(), setup.block_size());
            kernel::exercise(&model, mount.path());
            mount.unmount();
            tools::assert_clean_after_use(&image, setup.name);
        }
    }
}

#[test]
fn a_mounted_image_grows_to_16_times_its_size() {
    if tools::are_missing(&["e2fsck", "resize2fs", "dumpe2fs"]) || kernel::cannot_mount() || kernel::cannot_grow() {
        return;
    }
    for setup in setups() {
        let image = image_file();
        let model = build_and_extend(&image, &setup);
        let mount = Mount::new(&image);
        mount.grow();
        kernel::assert_equal(&model, mount.path(), setup.block_size());
        kernel::exercise(&model, mount.path());
        mount.unmount();
        assert_grown(&image, &setup);
    }
}

#[test]
fn a_default_image_grows_to_a_tebibyte() {
    if tools::are_missing(&["e2fsck", "resize2fs", "dumpe2fs"]) {
        return;
    }
    let setup = Setup::small("1 TiB", |options| options.size = Size::Fit(Fit::default()));
    let image = image_file();
    setup::build(&image, &setup, shapes::one_file).unwrap();
    File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let resized = tools::run::<&str>("resize2fs", &[], &image);
    assert!(resized.status.success(), "{}", tools::text(&resized));
    assert_grown(&image, &setup);
}

#[test]
fn an_image_shrinks_to_its_content() {
    if tools::are_missing(&["e2fsck", "resize2fs"]) {
        return;
    }
    // Inode tables of many groups, and content that needs few groups.
    let fixed = |block_size, mib, journal| {
        move |options: &mut Options| {
            options.block_size = block_size;
            options.size = Size::Fixed(mib * MIB);
            options.journal = journal;
        }
    };
    let setups = [
        Setup::small("300 MiB", fixed(BlockSize::Kib4, 300, Journal::Auto)),
        Setup::small("300 MiB of 1 KiB blocks", fixed(BlockSize::Kib1, 300, Journal::Auto)),
        Setup::small("a small journal", fixed(BlockSize::Kib1, 300, Journal::Bytes(2 * MIB))),
        Setup::small("88 groups", fixed(BlockSize::Kib1, 700, Journal::Bytes(2 * MIB))),
        Setup::small("88 groups, no journal", fixed(BlockSize::Kib1, 700, Journal::None)),
        Setup::small("20 GiB", fixed(BlockSize::Kib4, 20 << 10, Journal::Bytes(4 * MIB))),
        Setup::small("what fits", |options| options.block_size = BlockSize::Kib1),
    ];
    let shapes: [fn(&mut Build<File>, u64); 2] = [shapes::one_file, shapes::churn];
    for (setup, shape) in setups.iter().flat_map(|setup| shapes.map(|shape| (setup, shape))) {
        let image = image_file();
        let (_, model) = setup::build(&image, setup, shape).unwrap();
        let resized = tools::run("resize2fs", &["-M"], &image);
        assert!(resized.status.success(), "{}: {}", setup.name, tools::text(&resized));
        tools::assert_clean(&image, setup.name);
        if !kernel::cannot_mount() {
            let mount = Mount::read_only(&image);
            kernel::assert_equal(&model, mount.path(), setup.block_size());
            mount.unmount();
        }
    }
}
