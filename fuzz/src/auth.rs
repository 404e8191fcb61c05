//! Target `auth`: credentials files.

use oci::Reference;

/// Looks up the credentials of an image in a file. The first line is a reference to the image, and
/// the rest the file.
pub fn run(bytes: &[u8]) {
    let line = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (text, json) = bytes.split_at(line);
    if let Ok(text) = str::from_utf8(text)
        && let Ok(Reference::Registry(image)) = Reference::parse(text)
    {
        let _ = oci::fuzzing::credentials(json, &image);
    }
}
