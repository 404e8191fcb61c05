//! Builds with different numbers of threads: the same disk images, the same errors, and no
//! deadlock.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::sources::store::{Builds, succeed, tar};
use support::layout::{CONFIG, LAYER, MANIFEST, TestLayout, config, digest, manifest};
use support::server::{Reply, Server, stored_reply};
use support::wait::eventually;

/// Bytes in a layer: more than the limit on reading one layer ahead (16 MiB).
const LEN: usize = 17 << 20;

/// Numbers of threads that are compared.
pub(crate) const THREADS: [&str; 4] = ["1", "2", "3", "8"];

/// Creates an image with layers that `compress` compresses, by their index.
pub(crate) fn image(layout: &TestLayout, tars: &[String], compress: impl Fn(usize, &[u8]) -> Vec<u8>) -> Value {
    let diff_ids: Vec<_> = tars.iter().map(|tar| layout.blob(LAYER, tar.as_bytes())).collect();
    let compressed = tars
        .iter()
        .enumerate()
        .map(|(index, tar)| compress(index, tar.as_bytes()));
    let layers: Vec<_> = compressed.map(|blob| layout.blob(LAYER, &blob)).collect();
    let config = layout.document(CONFIG, &config("linux/amd64", &diff_ids));
    layout.document(MANIFEST, &manifest(&config, &layers))
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Compresses layers with gzip, with zstd and not at all, in turn.
pub(crate) fn compress_in_turn(index: usize, tar: &[u8]) -> Vec<u8> {
    match index % 3 {
        0 => gzip(tar),
        1 => zstd::encode_all(tar, 1).unwrap(),
        _ => tar.to_vec(),
    }
}

/// Runs a build that fails and leaves no output, and returns its standard error.
pub(crate) fn build_error(builds: &Builds, reference: &str, threads: &str) -> String {
    let mut command = builds.build(reference, "out");
    let output = command
        .args(["--threads", threads])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!builds.output("out").exists());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn thread_count_does_not_change_the_image() {
    let layout = TestLayout::new();
    let mut tars = vec![tar("one", LEN), tar("two", LEN), tar("three", 1 << 20)];
    // Small layers, and a repeated one.
    tars.extend((0..6).map(|number| tar(&format!("small-{number}"), 1000)));
    tars.push(tars[1].clone());
    let image = image(&layout, &tars, compress_in_turn);
    let builds = Builds::new();
    let build = |threads| {
        let mut command = builds.build(&layout.reference(&format!("@{}", digest(&image))), threads);
        succeed(command.args(["--threads", threads]));
        fs::read(builds.output(threads)).unwrap()
    };
    let expected = build(THREADS[0]);
    for threads in &THREADS[1..] {
        assert!(build(threads) == expected, "{threads} threads");
    }
}

#[test]
fn thread_count_does_not_change_the_error_of_a_corrupt_layer() {
    let layout = TestLayout::new();
    let tars = ["one", "two", "three", "four"].map(|name| tar(name, 2 << 20));
    // The gzip stream of the third layer is corrupt. The blob matches its digest.
    let image = image(&layout, &tars, |index, tar| {
        let mut blob = gzip(tar);
        if index == 2 {
            let middle = blob.len() / 2;
            blob[middle..].fill(0xFF);
        }
        blob
    });
    let builds = Builds::new();
    let messages =
        THREADS.map(|threads| build_error(&builds, &layout.reference(&format!("@{}", digest(&image))), threads));
    assert!(messages[0].contains("could not apply layer 3 of 4"), "{}", messages[0]);
    assert!(messages[0].contains("entry 1 \"three\""), "{}", messages[0]);
    for (message, threads) in messages.iter().zip(THREADS) {
        assert_eq!(*message, messages[0], "{threads} threads");
    }
}

#[test]
fn wrong_checksum_of_any_gzip_member_is_an_error() {
    let layout = TestLayout::new();
    let tars = ["one", "two"].map(|name| tar(name, 2 << 20));
    for damaged in 0..3 {
        let image = image(&layout, &tars, |index, tar| {
            let mut members: Vec<_> = tar.chunks(tar.len() / 3 + 1).map(gzip).collect();
            if index == 1 {
                let crc = members[damaged].len() - 8;
                members[damaged][crc] ^= 1;
            }
            members.concat()
        });
        let builds = Builds::new();
        let reference = layout.reference(&format!("@{}", digest(&image)));
        for threads in THREADS {
            let stderr = build_error(&builds, &reference, threads);
            assert!(stderr.contains("could not apply layer 2 of 2"), "{stderr}");
            assert!(
                stderr.contains("the gzip stream is corrupt, as the checksum"),
                "{stderr}"
            );
        }
    }
}

#[test]
fn wrong_blob_digest_is_reported_before_a_tar_error() {
    let layout = TestLayout::new();
    let tars = ["one", "two"].map(|name| tar(name, 2 << 20));
    let image = image(&layout, &tars, |_, tar| gzip(tar));
    let blob = layout.blob_path(&layout.blob(LAYER, &gzip(tars[1].as_bytes())));
    let mut bytes = fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let builds = Builds::new();
    for threads in THREADS {
        let stderr = build_error(&builds, &layout.reference(&format!("@{}", digest(&image))), threads);
        assert!(stderr.contains("could not apply layer 2 of 2"), "{stderr}");
        assert!(stderr.contains("the blob is damaged at its source"), "{stderr}");
    }
}

#[test]
fn failed_build_does_not_wait_for_upper_layers() {
    let layout = TestLayout::new();
    let no_tar = "x".repeat(1000);
    let tars = [no_tar, tar("two", 2 << 20)];
    let image = image(&layout, &tars, |_, tar| tar.to_vec());
    let second = json!(layout.blob(LAYER, tars[1].as_bytes()));
    let second = digest(&second).to_owned();
    let server = Server::of(&layout, &image, move |request, _| {
        request.path.ends_with(&second).then(|| Reply::Stall {
            announced: tars[1].len(),
            body: tars[1].as_bytes()[..4096].to_vec(),
        })
    });
    for threads in THREADS {
        let builds = Builds::new();
        let start = Instant::now();
        let stderr = build_error(&builds, &server.reference(&format!("@{}", digest(&image))), threads);
        assert!(stderr.contains("could not apply layer 1 of 2"), "{stderr}");
        assert!(start.elapsed() < Duration::from_mins(1), "{threads} threads");
    }
}

#[test]
fn missing_repeated_layer_reports_the_download_error() {
    let layout = TestLayout::new();
    let twice = tar("twice", 1000);
    let tars = [tar("one", 1000), twice.clone(), twice.clone(), twice.clone()];
    let image = image(&layout, &tars, |_, tar| tar.to_vec());
    let missing = digest(&layout.blob(LAYER, twice.as_bytes())).to_owned();
    let server = Server::of(&layout, &image, move |request, _| {
        request.path.ends_with(&missing).then(|| Reply::status(404))
    });
    let reference = server.reference(&format!("@{}", digest(&image)));
    for threads in THREADS {
        for _ in 0..8 {
            let stderr = build_error(&Builds::new(), &reference, threads);
            assert!(
                stderr.contains("could not apply layer 2 of 4"),
                "{threads} threads: {stderr}"
            );
            assert!(stderr.contains("has no blob sha256:"), "{threads} threads: {stderr}");
        }
    }
}

/// The layers above a repeated layer must not use up the chunks that it needs when it is applied.
#[test]
fn repeated_layer_does_not_starve() {
    let layout = TestLayout::new();
    let twice = tar("twice", 1000);
    // More than the limit on reading all layers ahead (64 MiB).
    let tars = [tar("one", 1 << 20), twice.clone(), twice, tar("large", 72 << 20)];
    let image = image(&layout, &tars, |_, tar| tar.to_vec());
    let first = digest(&layout.blob(LAYER, tars[0].as_bytes())).to_owned();
    let blobs = layout.path().join("blobs/sha256");
    let server = Server::of(&layout, &image, move |request, _| {
        // Delays the first layer until the others are read ahead.
        request.path.ends_with(&first).then(|| Reply::Slow {
            reply: Box::new(stored_reply(&blobs, "", request)),
            pause: Duration::from_millis(200),
        })
    });
    let reference = server.reference(&format!("@{}", digest(&image)));
    // With fewer threads, the large layer starts after the repeated one.
    for threads in &THREADS[2..] {
        let builds = Builds::new();
        let mut build = builds.build(&reference, "out");
        let mut build = build.args(["--threads", threads]).spawn().unwrap();
        let has_ended = eventually(|| build.try_wait().unwrap().is_some());
        if !has_ended {
            build.kill().unwrap();
        }
        assert!(has_ended, "a build with {threads} threads does not end");
        assert!(build.wait().unwrap().success());
    }
}

#[test]
fn zero_threads_are_refused() {
    let layout = TestLayout::new();
    let builds = Builds::new();
    let mut command = builds.build(&layout.reference(":latest"), "out");
    let output = command.args(["--threads", "0"]).stderr(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
