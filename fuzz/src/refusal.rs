//! Target `refusal`: error responses of registries, with a challenge in the first line and a body
//! after it.

use oci::fuzzing::{challenge, refusal};

/// Reads an error response, and asserts that a challenge formatted as in the specification reads
/// the same.
pub fn run(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let (header, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if let Some(canonical) = challenge(header) {
        assert_eq!(challenge(canonical.as_bytes()).as_ref(), Some(&canonical));
    }
    assert!(
        refusal(body).len() <= 3 * body.len() + 64,
        "the message is longer than the body"
    );
}
