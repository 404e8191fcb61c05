//! Layers whose zstd frames have large windows: concurrent decoders share a limited memory for
//! them.

use std::fs;
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::sources::archives::archive;
use crate::sources::random_faults::mix;
use crate::sources::store::{Builds, succeed, tar};
use crate::sources::threads::{THREADS, build_error, gzip, image};
use support::layout::{LAYER, TestLayout, config, digest};
use support::server::{Reply, Server, stored_reply};

/// `Window_Descriptor` of 1 MiB, and of 128 to 512 MiB (RFC 8878, section 3.1.1.1.2).
const WINDOWS: [u8; 6] = [10 << 3, 17 << 3, 17 << 3 | 1, 18 << 3, 18 << 3 | 4, 19 << 3];

/// Creates a frame with a window descriptor that may be larger than the content needs.
fn frame(content: &[u8], descriptor: u8) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(17).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(content).unwrap();
    let mut frame = encoder.finish().unwrap();
    frame[5] = descriptor;
    frame
}

/// Compresses a tar into frames with these windows, or with gzip if `windows` is empty.
fn compress(tar: &[u8], windows: &[u8]) -> Vec<u8> {
    if windows.is_empty() {
        return gzip(tar);
    }
    let part = tar.len().div_ceil(windows.len());
    let frames = tar.chunks(part).zip(windows);
    let skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec();
    frames
        .flat_map(|(part, window)| [frame(part, *window), skippable.clone()])
        .flatten()
        .collect()
}

/// Creates an image of layers with these windows.
fn windowed(layout: &TestLayout, layers: &[Vec<u8>]) -> Value {
    let tars: Vec<_> = (0..layers.len())
        .map(|index| tar(&index.to_string(), 700_000 + 900_000 * (index % 3)))
        .collect();
    image(layout, &tars, |index, tar| compress(tar, &layers[index]))
}

/// Builds an image, and returns the disk image. The build verifies the digests of the tars.
fn build(reference: &str, threads: &str) -> Vec<u8> {
    let builds = Builds::new();
    let mut command = builds.build(reference, "out");
    let size = ["--size-mib", "24", "--no-journal", "--no-sync"];
    succeed(command.args(["--allow-mutable", "--threads", threads]).args(size));
    fs::read(builds.output("out")).unwrap()
}

/// Asserts that the number of threads does not change the disk image of layers with these windows.
fn check(layers: &[Vec<u8>]) {
    let layout = TestLayout::new();
    let image = windowed(&layout, layers);
    let reference = layout.reference(&format!("@{}", digest(&image)));
    let expected = build(&reference, THREADS[0]);
    for threads in &THREADS[1..] {
        assert!(build(&reference, threads) == expected, "{threads} threads: {layers:?}");
    }
}

#[test]
fn consecutive_layers_with_the_largest_window() {
    let largest = vec![WINDOWS[5]];
    check(&vec![largest; 6]);
}

/// Returns the windows of layers in which upper layers hold memory that the lowest one needs for
/// its last window.
fn growing() -> Vec<Vec<u8>> {
    let (growing, small) = (WINDOWS.to_vec(), vec![WINDOWS[1]]);
    vec![
        growing.clone(),
        small.clone(),
        small.clone(),
        small.clone(),
        growing,
        small,
    ]
}

#[test]
fn window_grows_while_other_layers_are_decoded() {
    check(&growing());
}

#[test]
fn window_grows_while_other_layers_are_downloaded() {
    let layout = TestLayout::new();
    let image = windowed(&layout, &growing());
    let pinned = format!("@{}", digest(&image));
    let blobs = layout.path().join("blobs/sha256");
    let server = Server::of(&layout, &image, move |request, before| {
        let pause = Duration::from_millis(5 * (before as u64 % 4));
        let reply = Box::new(stored_reply(&blobs, "", request));
        request.path.contains("/blobs/").then_some(Reply::Slow { reply, pause })
    });
    let expected = build(&layout.reference(&pinned), "1");
    for threads in THREADS {
        assert!(
            build(&server.reference(&pinned), threads) == expected,
            "{threads} threads"
        );
    }
}

#[test]
fn random_window_sizes() {
    for seed in 0..6 {
        let mut state = seed;
        let mut random = |max: usize| {
            state = mix(state + 1);
            usize::try_from(state % max as u64).unwrap()
        };
        let count = 2 + random(6);
        let layers: Vec<Vec<u8>> = (0..count)
            .map(|_| (0..random(4)).map(|_| WINDOWS[random(WINDOWS.len())]).collect())
            .collect();
        check(&layers);
    }
}

/// docker's archives may contain compressed layers. The manifest that the program creates for them
/// names the digests of the tars.
#[test]
fn docker_archive_layers_with_the_largest_window() {
    let layout = TestLayout::new();
    let tars: Vec<_> = (0..5).map(|index| tar(&index.to_string(), 2 << 20)).collect();
    let layers: Vec<_> = tars.iter().map(|tar| layout.blob(LAYER, tar.as_bytes())).collect();
    let config = config("linux/amd64", &layers).to_string();
    let names: Vec<_> = (0..5).map(|index| format!("{index}.tar")).collect();
    let manifest = json!([{"Config": "config.json", "RepoTags": [], "Layers": names}]).to_string();
    let blobs: Vec<_> = tars.iter().map(|tar| compress(tar.as_bytes(), &WINDOWS[5..])).collect();
    let documents = [
        ("config.json", config.as_bytes()),
        ("manifest.json", manifest.as_bytes()),
    ];
    let members = names.iter().zip(&blobs).map(|(name, blob)| (&name[..], &blob[..]));
    let members: Vec<_> = members.chain(documents).collect();
    let directory = tempfile::tempdir().unwrap();
    let reference = format!("docker-archive:{}", archive(&directory, &members).display());
    assert!(build(&reference, "1") == build(&reference, "8"));
}

#[test]
fn window_above_the_limit_is_not_reported_as_damage() {
    let layout = TestLayout::new();
    let tars = [tar("one", 1000)];
    let image = image(&layout, &tars, |_, tar| frame(tar, 20 << 3));
    for threads in THREADS {
        let stderr = build_error(
            &Builds::new(),
            &layout.reference(&format!("@{}", digest(&image))),
            threads,
        );
        for words in [
            "a window of 1073741824 bytes: at most 536870912 are supported",
            "hint: compress it again",
        ] {
            assert!(stderr.contains(words), "{stderr}");
        }
        assert!(!stderr.contains("damaged"), "{stderr}");
    }
}
