//! Target `pax`: extended headers with PAX records, sparse maps and long names.

use layer::LayerOptions;

use crate::layer::{empty, finish, seal};

/// Types of headers that extend the next entry.
const EXTENSIONS: [u8; 4] = *b"xgLK";
/// Types of entries that they extend.
const TYPES: [u8; 7] = *b"0123456";
/// Length of the content, in bytes, which may begin with a sparse map.
const CONTENT_LEN: usize = 1024;

/// Reads PAX records in a header whose type the first byte selects, for an entry whose type the
/// second byte selects. Reads the resulting file back from the image.
pub fn run(bytes: &[u8]) {
    let [extension, kind, body @ ..] = bytes else {
        return;
    };
    let extension = EXTENSIONS[usize::from(*extension) % EXTENSIONS.len()];
    let kind = TYPES[usize::from(*kind) % TYPES.len()];
    // A NUL ends the records. What follows it begins the content, and may be a sparse map.
    let nul = body.iter().position(|&byte| byte == 0).unwrap_or(body.len());
    let (body, map) = body.split_at(nul);
    let mut content = map.get(1..).unwrap_or_default().to_vec();
    content.resize(CONTENT_LEN, 0);
    let mut padded = body.to_vec();
    padded.resize(body.len().next_multiple_of(512), 0);
    let tar = [
        &header(b'5', "d/", 0)[..],
        &header(b'0', "d/target", 0),
        &header(extension, "extension", body.len()),
        &padded,
        &header(kind, "d/file", CONTENT_LEN),
        &content,
    ]
    .concat();
    let mut rootfs = empty();
    if rootfs.apply(&tar[..], &LayerOptions::default()).is_ok() {
        finish(rootfs);
    }
}

fn header(kind: u8, name: &str, len: usize) -> [u8; 512] {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{len:011o}\0").as_bytes());
    header[156] = kind;
    header[157..165].copy_from_slice(b"d/target");
    header[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut header);
    header
}

/// Returns a regular file in a tar.
pub(crate) fn file(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = [&header(b'0', name, content.len()), content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}
