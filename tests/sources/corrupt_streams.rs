//! Layers whose gzip or zstd stream is truncated or corrupt, although their digests are right: the
//! error names the fault and the position.

use std::fs;
use std::io::{Read as _, Write};
use std::process::Stdio;

use oci::{ImageError, LayerTar};
use support::layout::{TestLayout, digest};

use crate::sources::State;
use crate::sources::linux;
use crate::sources::store::{Builds, succeed, tar};
use crate::sources::threads::{build_error, compress_in_turn, gzip, image};

/// Numbers of threads. With several, another thread does the last step of decoding.
const THREADS: [&str; 2] = ["1", "4"];

/// Hint for a corrupt stream.
const DAMAGED: &str = "hint: build the image again: the layer was damaged before its digest was taken";
/// Hint for a stream with data after its end.
const APPENDED: &str = "hint: build the image again: something was appended to the layer";

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Creates a zstd frame with one raw block (RFC 8878, section 3.1.1.2). `header` follows the magic
/// number.
fn raw_frame(header: &[u8], content: &[u8]) -> Vec<u8> {
    let block_header = u32::try_from(content.len()).unwrap() << 3 | 1;
    [b"\x28\xb5\x2f\xfd", header, &block_header.to_le_bytes()[..3], content].concat()
}

/// Builds an image of a good layer and one that `blob` creates from a tar. Returns standard error,
/// and asserts that it does not depend on the number of threads.
fn build_error_of(blob: fn(&[u8]) -> Vec<u8>) -> String {
    let layout = TestLayout::new();
    let tars = ["one", "two"].map(|name| tar(name, 100_000));
    let image = image(
        &layout,
        &tars,
        |index, tar| if index == 0 { gzip(tar) } else { blob(tar) },
    );
    let reference = layout.reference(&format!("@{}", digest(&image)));
    let [alone, together] = THREADS.map(|threads| build_error(&Builds::new(), &reference, threads));
    assert_eq!(alone, together);
    alone
}

/// Removes bytes from the end of a blob.
fn cut(mut blob: Vec<u8>, by: usize) -> Vec<u8> {
    blob.truncate(blob.len() - by);
    blob
}

/// Changes one byte, counted from the end of the blob.
fn change(mut blob: Vec<u8>, from_end: usize) -> Vec<u8> {
    let index = blob.len() - from_end;
    blob[index] ^= 1;
    blob
}

/// A name, a function from a tar to a blob, and parts of the error.
type Case = (&'static str, fn(&[u8]) -> Vec<u8>, &'static [&'static str]);

const CASES: [Case; 22] = [
    (
        "gzip magic",
        |tar| gzip(tar)[..2].to_vec(),
        &["the gzip stream is truncated inside the header of a member: 2 compressed bytes read, 0 bytes decompressed"],
    ),
    (
        "gzip header",
        |tar| gzip(tar)[..7].to_vec(),
        &["the gzip stream is truncated inside the header of a member: 7 compressed bytes read, 0 bytes decompressed"],
    ),
    (
        "gzip data",
        |tar| cut(gzip(tar), 1000),
        &["the gzip stream is truncated inside a member: "],
    ),
    (
        "gzip trailer",
        |tar| cut(gzip(tar), 3),
        &[
            "the gzip stream is truncated inside the trailer of a member: ",
            " 101888 bytes decompressed",
        ],
    ),
    (
        "second gzip member",
        |tar| cut([gzip(&tar[..512]), gzip(&tar[512..])].concat(), 1000),
        &["the gzip stream is truncated inside a member: "],
    ),
    (
        "gzip data changed",
        |tar| {
            let mut blob = gzip(tar);
            blob[10..].fill(0xff);
            blob
        },
        &["the gzip stream is corrupt, as its data cannot be decoded: "],
    ),
    (
        "gzip checksum",
        |tar| change(gzip(tar), 8),
        &[
            "the gzip stream is corrupt, as the checksum of its content is wrong: ",
            " 101888 bytes decompressed",
        ],
    ),
    (
        "gzip length",
        |tar| change(gzip(tar), 1),
        &["the gzip stream is corrupt, as a member does not have the length that its trailer says: "],
    ),
    (
        "gzip flags",
        |tar| {
            let mut blob = gzip(tar);
            blob[3] = 1 << 5;
            blob
        },
        &["the gzip stream is corrupt, as a header has reserved bits set: 10 compressed bytes read"],
    ),
    (
        "gzip header checksum",
        |tar| {
            let mut blob = gzip(tar);
            blob[3] = 1 << 1;
            blob
        },
        &["the gzip stream is corrupt, as the checksum of a header is wrong: 12 compressed bytes read"],
    ),
    (
        "garbage after gzip",
        |tar| [&gzip(tar)[..], b"garbage"].concat(),
        &[
            "the gzip stream is followed by other data: ",
            " 101888 bytes decompressed",
        ],
    ),
    (
        "zstd magic",
        |tar| zstd(tar)[..3].to_vec(),
        &["the zstd stream is truncated inside the header of a frame: 3 compressed bytes read, 0 bytes decompressed"],
    ),
    (
        "zstd header",
        |tar| zstd(tar)[..5].to_vec(),
        &["the zstd stream is truncated inside the header of a frame: 5 compressed bytes read, 0 bytes decompressed"],
    ),
    (
        "zstd data",
        |tar| cut(zstd(tar), 1000),
        &["the zstd stream is truncated inside a frame: "],
    ),
    (
        "zstd checksum cut",
        |tar| cut(zstd(tar), 3),
        &[
            "the zstd stream is truncated inside a frame: ",
            " 101888 bytes decompressed",
        ],
    ),
    (
        "zstd checksum",
        |tar| change(zstd(tar), 1),
        &["the zstd stream is corrupt, as the checksum of its content is wrong: "],
    ),
    (
        "zstd data changed",
        |tar| {
            let mut blob = zstd(tar);
            blob[6..].fill(0xff);
            blob
        },
        &["the zstd stream is corrupt, as its data cannot be decoded: "],
    ),
    (
        "zstd reserved bit",
        |tar| raw_frame(&[1 << 3, 10 << 3], tar),
        &["the zstd stream is corrupt, as a header has reserved bits set: 5 compressed bytes read"],
    ),
    (
        "garbage after zstd",
        |tar| [&zstd(tar)[..], b"garbage"].concat(),
        &[
            "the zstd stream is followed by other data: ",
            " 101888 bytes decompressed",
        ],
    ),
    (
        "zeros after zstd",
        |tar| [&zstd(tar)[..], &[0; 9]].concat(),
        &["the zstd stream is followed by other data: "],
    ),
    (
        "skippable frame",
        |tar| [&zstd(tar)[..], b"\x5e\x2a\x4d\x18\x09\0\0\0abc"].concat(),
        &[
            "the zstd stream is truncated inside a skippable frame: ",
            " 101888 bytes decompressed",
        ],
    ),
    (
        "skippable frame alone",
        |_| b"\x5e\x2a\x4d\x18\x09\0".to_vec(),
        &["the zstd stream is truncated inside a skippable frame: 6 compressed bytes read, 0 bytes decompressed"],
    ),
];

#[test]
fn corrupt_layer_error_names_the_fault_and_the_position() {
    for (case, blob, expected) in CASES {
        let stderr = build_error_of(blob);
        assert!(stderr.contains("could not apply layer 2 of 2"), "{case}: {stderr}");
        let is_appended = expected[0].contains("followed by");
        for words in expected.iter().chain([if is_appended { &APPENDED } else { &DAMAGED }]) {
            assert!(stderr.contains(words), "{case}: {stderr}");
        }
    }
}

#[test]
fn zstd_dictionary_is_not_reported_as_damage() {
    let stderr = build_error_of(|tar| raw_frame(&[1, 10 << 3, 42], tar));
    assert!(stderr.contains("the zstd stream needs the dictionary 42"), "{stderr}");
    assert!(
        stderr.contains("hint: compress it again without a dictionary"),
        "{stderr}"
    );
}

#[test]
fn truncated_archive_error_names_the_position() {
    let directory = tempfile::tempdir().unwrap();
    let tar = tar("one", 100_000);
    for (compress, format) in [(gzip as fn(&[u8]) -> Vec<u8>, "gzip"), (zstd, "zstd")] {
        let path = directory.path().join(format);
        fs::write(&path, cut(compress(tar.as_bytes()), 3)).unwrap();
        for transport in ["tar", "oci-archive", "docker-archive"] {
            let reference = format!("{transport}:{}", path.display());
            let builds = Builds::new();
            let mut build = builds.build(&reference, "out");
            let stderr = build
                .arg("--allow-mutable")
                .stderr(Stdio::piped())
                .output()
                .unwrap()
                .stderr;
            let stderr = String::from_utf8(stderr).unwrap();
            for words in [
                &format!("the {format} stream is truncated inside "),
                " 101888 bytes decompressed",
                "hint: make the archive again",
            ] {
                assert!(stderr.contains(words), "{reference}: {stderr}");
            }
        }
    }
}

/// containerd accepts an empty blob as well.
#[test]
fn empty_layer_blob_is_an_empty_tar() {
    let layout = TestLayout::new();
    let tars = [tar("one", 1000), String::new()];
    let image = image(&layout, &tars, |_, tar| tar.to_vec());
    for threads in THREADS {
        let builds = Builds::new();
        let mut build = builds.build(&layout.reference(&format!("@{}", digest(&image))), "out");
        succeed(build.args(["--threads", threads]));
    }
}

#[test]
fn layer_tar_is_verified_during_the_read() {
    let layout = TestLayout::new();
    let tars = ["one", "two", "three"].map(|name| tar(name, 100_000));
    let image = image(&layout, &tars, compress_in_turn);
    let source = State::new()
        .open(&layout.reference(&format!("@{}", digest(&image))))
        .unwrap();
    let layers = source.resolve(&linux("amd64")).unwrap().layers;
    for (layer, expected) in layers.iter().zip(&tars) {
        let mut tar = source.tar(layer).unwrap();
        let mut start = [0; 1000];
        tar.read_exact(&mut start).unwrap();
        assert_eq!(start, expected.as_bytes()[..1000]);
        tar.finish().unwrap();

        let path = layout.path().join("blobs/sha256").join(layer.digest.hex());
        let mut corrupt = fs::read(&path).unwrap();
        let middle = corrupt.len() / 2;
        corrupt[middle] ^= 1;
        fs::write(&path, corrupt).unwrap();
        let error = source.tar(layer).and_then(LayerTar::finish).unwrap_err();
        assert!(
            matches!(error, ImageError::Content { .. } | ImageError::Decode { .. }),
            "{error:?}"
        );
    }
}
