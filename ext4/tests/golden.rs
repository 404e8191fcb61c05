//! Digests of images of fixed trees. A change of one needs an "Image bytes" line in the changelog.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ext4::{BlockSize, Options, Size};
use sha2::{Digest, Sha256};

use support::content::Content;
use support::model::Build;
use support::samples::{fit_options, put_every_kind, put_indexed_directory, tiny_options};

/// A digest, and the options and the tree of its image.
type Golden = (&'static str, fn() -> Options, fn(&mut Build<Vec<u8>>));

const GOLDEN: [Golden; 7] = [
    (
        "4d2cd3662414c30dbbbff84d268857300494ed8d186e216ef0eea66c880b608f",
        || tiny_options(64),
        |_| {},
    ),
    (
        "a42c2f445ee9d35bef07cf0ad5639c3d60b0c0f2138936502e26aa339ff3cbf0",
        || tiny_options(96),
        put_every_kind,
    ),
    (
        "92be78c61f7a8999537e649acdf57b090e06bd53348a18b29b5bd6941fa992fa",
        || tiny_options(64),
        put_indexed_directory,
    ),
    (
        "cfacd2a812ce1d3bb84827ca6a53b9ec747309157fbd901b01372433181fc69e",
        fit_options,
        put_every_kind,
    ),
    (
        "17daa932b99fe20ad43503aae20f03f71f3df6ef2e43f9cf6fca27cc1c6cddca",
        || with(|options| options.inline_data = true),
        put_every_kind,
    ),
    (
        "d295908bd80a53b0130e27c3427a7db5a0c76b6a240769a0ae8800f076d4986a",
        || with(|options| options.block_size = BlockSize::Kib2),
        put_large_values,
    ),
    (
        "5158bc731ecb7838fab406d40fc85ca349d958843563781dddffae50ed10ed5d",
        || with(|options| options.size = Size::Fixed(12 << 20)),
        put_and_free,
    ),
];

fn with(change: fn(&mut Options)) -> Options {
    let mut options = fit_options();
    change(&mut options);
    options
}

/// Adds attributes whose values need inodes of their own.
fn put_large_values(build: &mut Build<Vec<u8>>) {
    for name in ["a", "b"] {
        let mut metadata = support::model::permissions(0o644);
        metadata.xattrs.set(b"user.large", &[b'l'; 5000]).unwrap();
        build.put(name, metadata, support::model::Node::Fifo).unwrap();
    }
}

/// Adds files, then removes most. The rest has to move to fit into the size.
fn put_and_free(build: &mut Build<Vec<u8>>) {
    for number in 0..20 {
        build.add_file(format!("{number}"), Content::dense(number, 600_000));
    }
    for number in (0..20).filter(|number| number % 4 != 0) {
        build.remove(format!("{number}"));
    }
}

#[test]
fn images_of_fixed_trees_have_the_digests_of_the_table() {
    let digests = GOLDEN.map(|(_, options, put)| {
        let make = || {
            let mut build = Build::new(Vec::new(), options()).unwrap();
            put(&mut build);
            build.finish().unwrap().0
        };
        let image = make();
        assert!(image == make(), "the same calls make the same bytes");
        support::check::check(&image);
        let digest: [u8; 32] = Sha256::digest(&image).into();
        digest.map(|byte| format!("{byte:02x}")).concat()
    });
    assert_eq!(digests, GOLDEN.map(|(digest, ..)| digest));
}
