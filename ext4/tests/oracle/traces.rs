//! Freed content: it leaves no trace in the image, and takes no space on the host.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::slice;

use ext4::{BlockSize, FileData, Formatter, InodeId, Kind, Options, Output, Size, Tree};

use crate::setup::{MIB, Setup, image_file};
use support::tools;

/// Content that must not be in the image.
const MARKER: &[u8; 32] = b"the secret that was here before!";

/// Writes content that is freed between content that stays, and makes an image of a size.
fn build_with_secrets<O: Output>(output: O, block_size: BlockSize, size: Option<u64>) -> O {
    let setup = Setup::small("secrets", |options| {
        options.block_size = block_size;
        options.size = size.map_or(options.size, Size::Fixed);
    });
    let mut formatter = Formatter::new(output, setup.options).unwrap();
    let mut tree = Tree::default();
    let mut names = Vec::new();
    for number in 0..40_u32 {
        let len = u64::from(number) * 10_007 + 1;
        let name = number.to_string().into_bytes();
        let kept = formatter.write_data(std::io::repeat(b'k'), len).unwrap();
        tree.insert(InodeId::ROOT, &name, ext4::Metadata::default(), Kind::File(kept))
            .unwrap();
        names.push(name);
        let secret = MARKER.repeat(2_000 + 700 * number as usize);
        let secret = formatter.write_data(&secret[..], secret.len() as u64).unwrap();
        let part = MARKER.repeat(200);
        let range = 5_000..5_000 + part.len() as u64;
        let sparse = formatter
            .write_sparse(&part[..], 1 << 20, slice::from_ref(&range))
            .unwrap();
        formatter.free(secret);
        formatter.free(sparse);
    }
    // More ranges than are discarded at once. The second half lies beside those already freed.
    let secrets = (0..5_000).map(|_| write_small_secret(&mut formatter)).enumerate();
    let (first, second): (Vec<_>, Vec<_>) = secrets.partition(|(number, _)| number % 2 == 0);
    for half in [first, second] {
        for (_, secret) in half {
            formatter.free(secret);
        }
        let next = formatter.write_data(&b"next"[..], 4).unwrap();
        formatter.free(next);
    }
    for name in names.iter().step_by(3) {
        for data in tree.remove(InodeId::ROOT, name).unwrap() {
            formatter.free(data);
        }
    }
    formatter.finish(tree).unwrap().0
}

/// Writes content of one block.
fn write_small_secret<O: Output>(formatter: &mut Formatter<O>) -> FileData {
    let secret = MARKER.repeat(20);
    formatter.write_data(&secret[..], secret.len() as u64).unwrap()
}

fn contains_marker(bytes: &[u8]) -> bool {
    // A quarter of the marker would be a leak already.
    bytes.windows(8).any(|window| window == &MARKER[..8])
}

/// Smaller than a page of the host, and the usual page size.
const BLOCK_SIZES: [BlockSize; 2] = [BlockSize::Kib1, BlockSize::Kib4];

/// A size that holds the content that stays, but not all that was written.
const SMALL: u64 = 10 * MIB;

#[test]
fn freed_content_is_nowhere_in_the_image() {
    // With room for all that was written, and with so little that the content that stays has to
    // move.
    for size in [None, Some(200 * MIB), Some(SMALL)] {
        for block_size in BLOCK_SIZES {
            let image = build_with_secrets(Vec::new(), block_size, size);
            assert!(image.windows(8).any(|window| window == b"kkkkkkkk"));
            assert!(!contains_marker(&image), "{size:?}");
        }
    }
}

#[test]
fn freed_content_takes_no_space_on_the_host() {
    for (size, block_size) in [
        (200 * MIB, BlockSize::Kib1),
        (200 * MIB, BlockSize::Kib4),
        (SMALL, BlockSize::Kib4),
    ] {
        let path = image_file();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let file = build_with_secrets(file, block_size, Some(size));
        file.sync_all().unwrap();
        let mut bytes = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(!contains_marker(&bytes), "{size:?}");
        let pages = bytes
            .chunks(4096)
            .filter(|page| page.iter().any(|&byte| byte != 0))
            .count() as u64;
        let on_host = fs::metadata(&path).unwrap().blocks() * 512;
        // The host's own extent tree takes a few blocks.
        assert!(
            on_host <= (pages + 16) * 4096,
            "{on_host} bytes on the host for {pages} pages of data"
        );
        if !tools::are_missing(&["e2fsck"]) {
            tools::assert_clean(&path, "secrets");
        }
    }
}

#[test]
fn space_of_many_freed_files_is_given_back_before_the_end() {
    let path = image_file();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let on_host = || fs::metadata(&path).unwrap().blocks() * 512;
    let mut formatter = Formatter::new(file, Options::new([7; 16])).unwrap();
    let secrets: Vec<_> = (0..2_000).map(|_| write_small_secret(&mut formatter)).collect();
    let before = on_host();
    assert!(before > 7 * MIB, "{before}");
    for secret in secrets {
        formatter.free(secret);
    }
    formatter.write_data(&b"kept"[..], 4).unwrap();
    let after = on_host();
    assert!(after < MIB, "{after} of {before} bytes on the host");
}
