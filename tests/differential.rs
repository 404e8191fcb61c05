//! Tests that random layers give the same tree here, in umoci and in containerd, entry by entry
//! through the kernel's mount.
//!
//! Each seed is an image of a few layers (`support::random_layers`).
//! `DIFFERENTIAL_SEEDS=<from>..<to>` chooses the seeds.
//!
//! Allowed differences:
//!
//! - containerd, and umoci before 0.6, fail if a parent is not a directory. This project replaces
//!   it.
//! - Metadata of a directory are compared only if a layer has an entry for it. Without one, both
//!   set the current time, and umoci keeps the old metadata of directories that a whiteout hides.
//! - containerd makes the directories of whiteouts, and sets the times of all directories at the
//!   end, by name. What replaced a directory gets its time. If that is a symlink to nothing or in a
//!   circle, containerd fails. It gets restricted layers (`containerd::restrict`), and with
//!   overlayfs more restricted ones.
//!
//! Both apply a whiteout to what exists when they reach it. They get the whiteouts in another
//! order: first, and umoci last as well. `tests/layers/order.rs` shows that the order does not
//! matter here.
//!
//! Needs Linux, root, umoci and containerd. A missing program skips a test, and fails it where
//! `REQUIRE_ORACLES=1`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod containerd;
mod tree;

use std::env;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use ext4::{Fit, Formatter, Journal, Options, Size};
use layer::{LayerError, LayerOptions, RootfsBuilder};

use containerd::Containerd;
use support::kernel::Mount;
use support::oracles::{Oracles, e2fsck};
use support::random_layers::{self, whiteouts_first, whiteouts_last};
use support::single_image::Layout;
use support::tar::{Entry, archive};
use tree::Reference;

/// Returns the entries of a layer in another order.
type Order = fn(&[Entry]) -> Vec<Entry>;

#[test]
fn random_layers_give_the_tree_of_umoci() {
    let Some(oracles) = Oracles::find() else {
        return;
    };
    try_seeds(0..300, |seed| {
        let directory = SeedDirectory::new(oracles.scratch(), seed);
        let mut layers = random_layers::layers(seed);
        remove_links_to_themselves(&mut layers);
        // Most images would be invalid because of a single entry. Some stay, so that errors are
        // compared as well.
        if seed % 4 != 0 {
            repair(&directory.0, &mut layers);
        }
        // umoci applies a whiteout to what exists when it reaches it.
        let orders: [Order; 2] = [whiteouts_first, whiteouts_last];
        try_layers(&directory.0, &layers, &orders, Reference::Umoci, umoci)
    });
}

#[test]
fn restricted_layers_give_the_tree_of_containerd() {
    try_containerd("native", Reference::Containerd, |seed, directory, layers| {
        if seed % 4 != 0 {
            repair(directory, layers);
        }
    });
}

/// The kernel merges the directories of layers that containerd unpacks.
#[test]
fn restricted_layers_give_the_tree_of_overlayfs() {
    try_containerd("overlayfs", Reference::Overlayfs, |_, _, layers| {
        containerd::restrict_for_overlayfs(layers);
    });
}

/// Compares restricted layers, changed further by `prepare`, with the tree that containerd makes.
fn try_containerd(snapshotter: &str, reference: Reference, prepare: impl Fn(u64, &Path, &mut [Vec<Entry>])) {
    let Some(oracles) = Oracles::find() else {
        return;
    };
    let Some(containerd) = Containerd::start(&oracles.scratch().join("containerd")) else {
        return;
    };
    try_seeds(0..60, |seed| {
        let directory = SeedDirectory::new(oracles.scratch(), seed);
        let mut layers = random_layers::layers(seed);
        remove_links_to_themselves(&mut layers);
        containerd::restrict(&mut layers);
        prepare(seed, &directory.0, &mut layers);
        let unpack = |layout: &Layout, diff_ids: &[String]| containerd.unpack(snapshotter, layout.path(), diff_ids);
        try_layers(&directory.0, &layers, &[whiteouts_first], reference, unpack)
    });
}

/// Runs a test for the seeds that `DIFFERENTIAL_SEEDS` chooses, or for the default ones. Fails
/// unless more than a third of them are images that both can apply.
fn try_seeds(default: Range<u64>, try_seed: impl Fn(u64) -> Result<bool, String>) {
    let seeds = env::var("DIFFERENTIAL_SEEDS").map_or(default, |range| {
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
        compared * 3 > count,
        "only {compared} of {count} seeds are valid images"
    );
}

/// The directory of a seed. It is removed when this is dropped.
struct SeedDirectory(PathBuf);

impl SeedDirectory {
    fn new(scratch: &Path, seed: u64) -> Self {
        let path = scratch.join(seed.to_string());
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for SeedDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes hard links to files with the same base name, which may be links of a file to itself by
/// another path. They change nothing here, and the references refuse them.
fn remove_links_to_themselves(layers: &mut [Vec<Entry>]) {
    fn base(path: &[u8]) -> Option<&[u8]> {
        path.rsplit(|&byte| byte == b'/').next()
    }
    for layer in layers {
        layer.retain(|entry| entry.flag != b'1' || base(&entry.name) != base(&entry.link));
    }
}

/// Removes the entries that this project refuses.
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

/// Applies layers here and with a reference, and compares the trees. Returns false if both refuse
/// the layers, or if the reference alone fails for an allowed reason.
///
/// The reference gets the whiteouts of each layer in each of these `orders`, and must agree in one
/// of them. If it makes different trees from two orders, and both differ from ours, it is not a
/// reference for this image.
fn try_layers(
    directory: &Path,
    layers: &[Vec<Entry>],
    orders: &[Order],
    reference: Reference,
    unpack: impl Fn(&Layout, &[String]) -> Result<PathBuf, String>,
) -> Result<bool, String> {
    let image = directory.join("image.ext4");
    let tars: Vec<Vec<u8>> = layers.iter().map(|layer| archive(layer)).collect();
    let ours = apply(&image, &tars);
    let mut differences = String::new();
    let mut trees: Vec<Result<PathBuf, String>> = Vec::new();
    for order in orders {
        let layout = Layout::create(directory.join(format!("layout{}", trees.len())));
        let tars = layers.iter().map(|layer| archive(&order(layer)));
        let blobs: Vec<_> = tars.map(|tar| layout.gzip_layer(&tar)).collect();
        layout.image(&blobs);
        let diff_ids: Vec<String> = blobs.into_iter().map(|blob| blob.diff_id).collect();
        let tree = unpack(&layout, &diff_ids);
        let difference = match (&ours, &tree) {
            (Ok(()), Ok(tree)) => {
                e2fsck(&image)?;
                let mount = Mount::read_only(&image);
                let difference = tree::compare(tree, mount.path(), reference);
                mount.unmount();
                match difference {
                    Ok(()) => return Ok(true),
                    Err(difference) => difference,
                }
            }
            (Err(_), Err(_)) => return Ok(false),
            (Ok(()), Err(message)) if reference.may_fail(message) => return Ok(false),
            (Ok(()), Err(message)) => format!("only the reference fails: {message}"),
            (Err((_, error)), Ok(_)) => format!("only this project fails: {error}: {}", error.kind),
        };
        differences = differences + &difference + "\n";
        trees.push(tree);
    }
    let is_one_result = |pair: &[Result<PathBuf, String>]| match (&pair[0], &pair[1]) {
        (Ok(one), Ok(other)) => tree::compare(one, other, reference).is_ok(),
        // The last line of an error names the entry and the fault.
        (Err(one), Err(other)) => one.lines().last() == other.lines().last(),
        _ => false,
    };
    if trees.windows(2).all(is_one_result) {
        return Err(differences + &random_layers::show(layers));
    }
    Ok(false)
}

/// Unpacks an image with umoci.
fn umoci(layout: &Layout, _: &[String]) -> Result<PathBuf, String> {
    let tree = layout.path().with_extension("tree");
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

/// Applies layers to an image file. An error has the index of its layer.
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
    let mut rootfs = RootfsBuilder::new(Formatter::new(file, options).unwrap());
    for (index, tar) in tars.iter().enumerate() {
        let applied = rootfs.apply(&tar[..], &LayerOptions::default());
        applied.map_err(|error| (index, Box::new(error)))?;
    }
    rootfs.formatter.finish(rootfs.tree).unwrap();
    Ok(())
}
