//! Random layers, applied by us and by umoci or containerd, and compared entry by entry through the kernel's mount.
//!
//! Each seed is an image of a few layers: any path, any type over any other, symlinks and hard links to anywhere, whiteouts and
//! opaque markers, all in any order. `DIFFERENTIAL_SEEDS=<from>..<to>` chooses the seeds.
//!
//! Allowed differences: containerd, and umoci before 0.6, fail where a parent is no directory, which we replace; what either
//! says of the metadata of a directory counts only if a layer has an entry for it, for they give others the time of the day, and
//! umoci those that a whiteout hides the metadata that they had. containerd makes the directories of whiteouts, and sets the
//! times of all directories in the end by name: where something has replaced one, that gets its time, or there is an error if it
//! is a symlink to nothing or in a circle. It gets tame layers (`containerd::tame`).
//!
//! Needs Linux, root, umoci and containerd. What is missing skips a test, and fails it where `REQUIRE_ORACLES=1`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod containerd;
mod generate;
mod tree;

use std::env;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use ext4::{Fit, Formatter, Journal, Options, Size};
use microagent::layer::{LayerError, LayerOptions, Rootfs};

use containerd::Containerd;
use support::kernel::Mount;
use support::oracles::{Oracles, e2fsck};
use support::single_image::Layout;
use support::tar::{Entry, archive};
use tree::Reference;

/// The layout in the directory of a seed.
const LAYOUT: &str = "layout";

#[test]
fn random_layers_come_out_as_umoci_unpacks_them() {
    let Some(oracles) = Oracles::find() else {
        return;
    };
    try_seeds(0..300, |seed| {
        let directory = Directory::new(oracles.scratch(), seed);
        let mut layers = generate::layers(seed);
        // Most images would be invalid because of a single entry; some remain so that errors are compared too.
        if seed % 4 != 0 {
            repair(&directory.0, &mut layers);
        }
        let unpack = |layout: &Layout, _: &[String]| umoci(&directory.0, layout);
        try_layers(&directory.0, &layers, Reference::Umoci, unpack)
    });
}

#[test]
fn tame_layers_come_out_as_containerd_unpacks_them() {
    let Some(oracles) = Oracles::find() else {
        return;
    };
    let Some(containerd) = Containerd::start(&oracles.scratch().join("containerd")) else {
        return;
    };
    try_seeds(0..60, |seed| {
        let directory = Directory::new(oracles.scratch(), seed);
        let mut layers = generate::layers(seed);
        containerd::tame(&mut layers);
        if seed % 4 != 0 {
            repair(&directory.0, &mut layers);
        }
        let unpack = |_: &Layout, diff_ids: &[String]| containerd.unpack(&directory.0.join(LAYOUT), diff_ids);
        try_layers(&directory.0, &layers, Reference::Containerd, unpack)
    });
}

/// Tries the seeds that `DIFFERENTIAL_SEEDS` chooses, or these; most of them must be images that can be compared.
fn try_seeds(usual: Range<u64>, try_seed: impl Fn(u64) -> Result<bool, String>) {
    let seeds = env::var("DIFFERENTIAL_SEEDS").map_or(usual, |range| {
        let (from, to) = range.split_once("..").unwrap();
        from.parse().unwrap()..to.parse().unwrap()
    });
    let mut compared = 0;
    for seed in seeds.clone() {
        match try_seed(seed) {
            Ok(true) => compared += 1,
            Ok(false) => {}
            Err(difference) => panic!("seed {seed}: {difference}"),
        }
    }
    let count = seeds.end - seeds.start;
    assert!(
        compared * 2 > count,
        "only {compared} of {count} seeds are valid images"
    );
}

/// The directory of a seed, which goes with it.
struct Directory(PathBuf);

impl Directory {
    fn new(scratch: &Path, seed: u64) -> Self {
        let path = scratch.join(seed.to_string());
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes entries that we refuse.
fn repair(directory: &Path, layers: &mut [Vec<Entry>]) {
    let image = directory.join("draft.ext4");
    loop {
        let tars: Vec<Vec<u8>> = layers.iter().map(|layer| archive(layer)).collect();
        let result = apply(&image, &tars);
        fs::remove_file(&image).unwrap();
        let Err((layer, error)) = result else {
            return;
        };
        layers[layer].remove(usize::try_from(error.position.entry).unwrap() - 1);
    }
}

/// Applies layers in both ways; false if both refuse them, or the reference alone for a reason that is allowed.
fn try_layers(
    directory: &Path,
    layers: &[Vec<Entry>],
    reference: Reference,
    unpack: impl Fn(&Layout, &[String]) -> Result<PathBuf, String>,
) -> Result<bool, String> {
    let tars: Vec<Vec<u8>> = layers.iter().map(|layer| archive(layer)).collect();
    let image = directory.join("image.ext4");
    let ours = apply(&image, &tars);

    let layout = Layout::create(directory.join(LAYOUT));
    let blobs: Vec<_> = tars.iter().map(|tar| layout.gzip_layer(tar)).collect();
    layout.image(&blobs);
    let diff_ids: Vec<String> = blobs.into_iter().map(|blob| blob.diff_id).collect();
    let difference = match (ours, unpack(&layout, &diff_ids)) {
        (Ok(()), Ok(tree)) => {
            e2fsck(&image)?;
            let mount = Mount::read_only(&image);
            let difference = tree::compare(&tree, mount.path(), reference);
            mount.unmount();
            match difference {
                Ok(()) => return Ok(true),
                Err(difference) => difference,
            }
        }
        (Err(_), Err(_)) => return Ok(false),
        (Ok(()), Err(message)) if reference.may_fail(&message) => return Ok(false),
        (Ok(()), Err(message)) => format!("the reference alone fails: {message}"),
        (Err((_, error)), Ok(_)) => format!("we alone fail: {error}: {}", error.kind),
    };
    Err(format!("{difference}\n{}", generate::show(layers)))
}

/// Unpacks an image with umoci.
fn umoci(directory: &Path, layout: &Layout) -> Result<PathBuf, String> {
    let tree = directory.join("reference");
    let output = Command::new("umoci")
        .args(["raw", "unpack", "--image"])
        .arg(layout.tagged().trim_start_matches("oci:"))
        .arg(&tree)
        .output()
        .unwrap();
    if output.status.success() {
        Ok(tree)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Writes the image of layers; the error comes with the index of its layer.
fn apply(image: &Path, tars: &[Vec<u8>]) -> Result<(), (usize, Box<LayerError>)> {
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
        applied.map_err(|error| (index, Box::new(error)))?;
    }
    rootfs.formatter.finish(rootfs.tree).unwrap();
    Ok(())
}
