//! Benchmarks of the parts of a build, each alone: `cargo bench --bench parts`.
//!
//! All use the same tar of 64 MiB, half of it files of 4 KiB, so that their times can be compared.
//! Nothing is read from or written to a disk.

use std::io::{BufReader, Read, Write};

use divan::Bencher;
use divan::counter::BytesCount;
use ext4::{Formatter, Options};
use flate2::write::GzEncoder;
use layer::{LayerOptions, RootfsBuilder, decode};
use oci::{Algorithm, Digest};
use support::null_output::NullOutput;
use tar::Header;

const SMALL_FILES: usize = 8192;
const SMALL_LEN: usize = 4096;
const LARGE_LEN: usize = 32 << 20;

fn main() {
    divan::main();
}

/// Returns content that compresses to about a third, as programs do.
fn content(len: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    let words: Vec<[u8; 8]> = (0..512)
        .map(|_| std::array::from_fn(|_| u8::try_from(next() & 0xFF).unwrap_or_default()))
        .collect();
    let mut content = Vec::with_capacity(len + 8);
    while content.len() < len {
        content.extend(words[next() as usize % words.len()]);
    }
    content.truncate(len);
    content
}

fn layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut append = |name: String, content: &[u8]| {
        let mut header = Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content).expect("memory takes it");
    };
    let small = content(SMALL_LEN);
    for number in 0..SMALL_FILES {
        append(format!("usr/lib/directory-{}/file-{number}", number / 100), &small);
    }
    append("usr/lib/large".to_owned(), &content(LARGE_LEN));
    tar.into_inner().expect("memory takes it")
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(tar).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn bench_decoder(bencher: Bencher<'_, '_>, blob: &[u8], len: usize) {
    let mut buffer = vec![0; 256 << 10];
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        let mut decoder = decode(BufReader::with_capacity(256 << 10, blob), "").expect("it is known");
        while decoder.read(&mut buffer).expect("it is right") > 0 {}
    });
}

#[divan::bench]
fn decode_gzip(bencher: Bencher<'_, '_>) {
    let tar = layer();
    bench_decoder(bencher, &gzip(&tar), tar.len());
}

#[divan::bench]
fn decode_zstd(bencher: Bencher<'_, '_>) {
    let tar = layer();
    let blob = zstd::encode_all(&tar[..], 3).expect("memory takes it");
    bench_decoder(bencher, &blob, tar.len());
}

#[divan::bench]
fn hash(bencher: Bencher<'_, '_>) {
    let tar = layer();
    bencher
        .counter(BytesCount::new(tar.len()))
        .bench(|| Digest::of(Algorithm::Sha256, &tar));
}

/// Reads a tar, applies its entries, and finishes the image.
#[divan::bench]
fn apply_and_finish(bencher: Bencher<'_, '_>) {
    let tar = layer();
    bencher.counter(BytesCount::new(tar.len())).bench(|| {
        let mut rootfs = RootfsBuilder::new(formatter());
        rootfs
            .apply(&tar[..], &LayerOptions::default())
            .expect("the layer is right");
        rootfs.formatter.finish(rootfs.tree).expect("any size is possible");
    });
}

/// Writes one large file, without a tar.
#[divan::bench]
fn write_large_file(bencher: Bencher<'_, '_>) {
    let content = content(LARGE_LEN);
    bencher.counter(BytesCount::new(content.len())).bench(|| {
        let mut formatter = formatter();
        formatter
            .write_data(&content[..], content.len() as u64)
            .expect("it fits")
    });
}

/// Writes small files, without a tar.
#[divan::bench]
fn write_small_files(bencher: Bencher<'_, '_>) {
    let content = content(SMALL_LEN);
    bencher.counter(BytesCount::new(SMALL_LEN * SMALL_FILES)).bench(|| {
        let mut formatter = formatter();
        for _ in 0..SMALL_FILES {
            formatter.write_data(&content[..], SMALL_LEN as u64).expect("it fits");
        }
    });
}

fn formatter() -> Formatter<NullOutput> {
    Formatter::new(NullOutput, Options::new([7; 16])).expect("the options are usual")
}
