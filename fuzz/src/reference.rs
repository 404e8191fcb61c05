//! Image references.

use oci::Reference;

/// Reads a text as an image reference; what it means, written out, means the same.
pub fn run(text: &str) {
    let Ok(reference) = Reference::parse(text) else {
        return;
    };
    let canonical = reference.to_string();
    let again = Reference::parse(&canonical);
    assert_eq!(again.as_ref(), Ok(&reference), "{canonical:?}");
}
