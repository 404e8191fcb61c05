//! What was freed: no trace of it in the image, no space on the host.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::slice;

use ext4::{Formatter, InodeId, Kind, Output, Size, Tree};

use crate::judge::{MIB, Setup, image_file};
use crate::support::tools;

/// What no image may hold.
const MARKER: &[u8; 32] = b"the secret that was here before!";

/// Writes content that is freed again between content that stays, and makes the image of a size.
fn build_with_secrets<O: Output>(output: O, size: Option<u64>) -> O {
    let setup = Setup::small("secrets", |options| {
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
    for name in names.iter().step_by(3) {
        for data in tree.remove(InodeId::ROOT, name).unwrap() {
            formatter.free(data);
        }
    }
    formatter.finish(tree).unwrap().0
}

fn holds_marker(bytes: &[u8]) -> bool {
    // A quarter of it would be too much already.
    bytes.windows(8).any(|window| window == &MARKER[..8])
}

/// A size that holds what stays, which is far less than what passed through.
const SMALL: u64 = 10 * MIB;

#[test]
fn freed_content_is_nowhere_in_the_image() {
    // With room for all that was written, and with so little that what stays has to move.
    for size in [None, Some(200 * MIB), Some(SMALL)] {
        let image = build_with_secrets(Vec::new(), size);
        assert!(image.windows(8).any(|window| window == b"kkkkkkkk"));
        assert!(!holds_marker(&image), "{size:?}");
    }
}

#[test]
fn freed_content_takes_no_space_on_the_host() {
    for size in [Some(200 * MIB), Some(SMALL)] {
        let path = image_file();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let file = build_with_secrets(file, size);
        file.sync_all().unwrap();
        let mut bytes = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(!holds_marker(&bytes), "{size:?}");
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
