//! Tests that the order of whiteouts in a layer does not change a byte of the image.

use layer::{LayerError, LayerOptions};

use crate::layers::{empty, notation};
use support::random_layers::{
    Random, is_whiteout, layers as random_layers, show, whiteouts_first, whiteouts_last, whiteouts_shuffled,
};
use support::tar::{Entry, archive};

/// Number of random stacks of layers.
const SEEDS: u64 = 600;

#[test]
fn whiteouts_first_last_and_shuffled_give_the_same_image() {
    let mut compared = 0;
    for seed in 0..SEEDS {
        let mut layers = random_layers(seed);
        // Most stacks would be invalid because of a single entry.
        while let Err((layer, error)) = image(&layers) {
            layers[layer].remove(usize::try_from(error.position.entry).unwrap() - 1);
        }
        let expected = image(&layers).unwrap();
        let random = &mut Random::new(seed);
        let arranged: [Vec<_>; 3] = [
            layers.iter().map(|layer| whiteouts_first(layer)).collect(),
            layers.iter().map(|layer| whiteouts_last(layer)).collect(),
            layers.iter().map(|layer| whiteouts_shuffled(random, layer)).collect(),
        ];
        for arranged in arranged {
            match image(&arranged) {
                Ok(image) if image == expected => {}
                Ok(_) => panic!(
                    "seed {seed}: {:?}\n{}is not {:?}\n{}",
                    tree(&arranged),
                    show(&arranged),
                    tree(&layers),
                    show(&layers)
                ),
                Err((_, error)) => panic!("seed {seed}: {error}: {}\n{}", error.kind, show(&arranged)),
            }
        }
        compared += u64::from(layers[1..].iter().flatten().any(is_whiteout));
    }
    assert!(
        compared > SEEDS / 2,
        "only {compared} stacks have whiteouts that could hide something"
    );
}

/// Returns the image of layers, or the index of the layer that fails with its error.
fn image(layers: &[Vec<Entry>]) -> Result<Vec<u8>, (usize, Box<LayerError>)> {
    let mut rootfs = empty();
    for (index, layer) in layers.iter().enumerate() {
        let applied = rootfs.apply(&archive(layer)[..], &LayerOptions::default());
        applied.map_err(|error| (index, Box::new(error)))?;
    }
    Ok(rootfs.formatter.finish(rootfs.tree).unwrap().0)
}

fn tree(layers: &[Vec<Entry>]) -> Vec<String> {
    let mut rootfs = empty();
    for layer in layers {
        rootfs.apply(&archive(layer)[..], &LayerOptions::default()).unwrap();
    }
    notation::show(rootfs)
}
