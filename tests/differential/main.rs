//! Random layers, applied by us and by umoci, and compared entry by entry through the kernel's mount.
//!
//! Each seed is an image of a few layers: any path, any type over any other, symlinks and hard links to anywhere, whiteouts and
//! opaque markers, all in any order. `DIFFERENTIAL_SEEDS=<from>..<to>` chooses the seeds.
//!
//! Allowed differences: umoci before 0.6 fails where a parent is no directory, which we replace; and what umoci says of the
//! metadata of a directory counts only if a layer has an entry for it, for it gives others the time of the day, and those that
//! a whiteout hides the metadata that they had.
//!
//! Needs Linux, root and umoci. What is missing skips the test, and fails it where `REQUIRE_ORACLES=1`.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod generate;
mod tree;
#[path = "../support"]
mod support {
    #[expect(dead_code, reason = "the images are only read here")]
    pub(crate) mod mount;
    #[expect(dead_code, reason = "the reference is made otherwise here")]
    pub(crate) mod oracles;
    #[expect(dead_code, reason = "spoilt images are another test's")]
    pub(crate) mod single_image;
    pub(crate) mod skip;
    #[expect(dead_code, reason = "only honest tars are made here")]
    pub(crate) mod tar;
}

use std::env;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use ext4::{Fit, Formatter, Journal, Options, Size};
use microagent::layer::{LayerError, LayerOptions, Rootfs};

use support::mount::Mount;
use support::oracles::{Oracles, e2fsck};
use support::single_image::Layout;
use support::tar::{Entry, archive};

/// Seeds that are tried without `DIFFERENTIAL_SEEDS`.
const SEEDS: std::ops::Range<u64> = 0..300;

#[test]
fn random_layers_come_out_as_umoci_unpacks_them() {
    let Some(oracles) = Oracles::find() else {
        return;
    };
    let seeds = env::var("DIFFERENTIAL_SEEDS").map_or(SEEDS, |range| {
        let (from, to) = range.split_once("..").unwrap();
        from.parse().unwrap()..to.parse().unwrap()
    });
    let mut compared = 0;
    for seed in seeds.clone() {
        let directory = oracles.scratch().join(seed.to_string());
        fs::create_dir(&directory).unwrap();
        let mut layers = generate::layers(seed);
        // Most images would be invalid because of a single entry; some remain so that errors are compared too.
        if seed % 4 != 0 {
            repair(&directory.join("draft.ext4"), &mut layers);
        }
        match try_seed(&directory, &layers) {
            Ok(true) => compared += 1,
            Ok(false) => {}
            Err(difference) => panic!("seed {seed}: {difference}\n{}", generate::show(&layers)),
        }
        fs::remove_dir_all(&directory).unwrap();
    }
    let count = seeds.end - seeds.start;
    assert!(
        compared * 2 > count,
        "only {compared} of {count} seeds are valid images"
    );
}

/// Removes entries that we refuse.
fn repair(image: &Path, layers: &mut [Vec<Entry>]) {
    loop {
        let tars: Vec<Vec<u8>> = layers.iter().map(|layer| archive(layer)).collect();
        let result = apply(image, &tars);
        fs::remove_file(image).unwrap();
        let Err((layer, error)) = result else {
            return;
        };
        layers[layer].remove(usize::try_from(error.position.entry).unwrap() - 1);
    }
}

/// Applies layers in both ways; false if both refuse them, or umoci alone for a reason that is allowed.
fn try_seed(directory: &Path, layers: &[Vec<Entry>]) -> Result<bool, String> {
    let tars: Vec<Vec<u8>> = layers.iter().map(|layer| archive(layer)).collect();
    let image = directory.join("image.ext4");
    let ours = apply(&image, &tars);

    let layout = Layout::create(directory.join("layout"));
    let blobs: Vec<_> = tars.iter().map(|tar| layout.gzip_layer(tar)).collect();
    layout.image(&blobs);
    let reference = directory.join("reference");
    let output = Command::new("umoci")
        .args(["raw", "unpack", "--image"])
        .arg(layout.tagged().trim_start_matches("oci:"))
        .arg(&reference)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    match (ours, output.status.success()) {
        (Ok(()), true) => {}
        (Ok(()), false) if message.contains("not a directory") => return Ok(false),
        (Err(_), false) => return Ok(false),
        (Ok(()), false) => return Err(format!("umoci alone fails: {message}")),
        (Err((_, error)), true) => return Err(format!("we alone fail: {error}: {}", error.kind)),
    }
    e2fsck(&image)?;
    let mount = Mount::read_only(&image);
    let difference = tree::compare(&reference, mount.tree());
    mount.unmount();
    difference.map(|()| true)
}

/// Writes the image of layers; the error comes with the index of its layer.
fn apply(image: &Path, tars: &[Vec<u8>]) -> Result<(), (usize, LayerError)> {
    let file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(image)
        .unwrap();
    let options = Options {
        size: Size::Fit(Fit {
            free: 0,
            free_percent: 0,
            min: 1 << 20,
            ..Fit::default()
        }),
        journal: Journal::None,
        ..Options::new([7; 16])
    };
    let mut rootfs = Rootfs::new(Formatter::new(file, options).unwrap());
    for (index, tar) in tars.iter().enumerate() {
        let applied = rootfs.apply(&tar[..], &LayerOptions::default());
        applied.map_err(|error| (index, error))?;
    }
    rootfs.formatter.finish(rootfs.tree).unwrap();
    Ok(())
}
