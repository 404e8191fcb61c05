//! Target `reference`: image references.

use oci::Reference;

/// Parses a text as an image reference, and asserts that formatting and parsing it again gives the
/// same.
pub fn run(text: &str) {
    let Ok(reference) = Reference::parse(text) else {
        return;
    };
    let canonical = reference.to_string();
    let again = Reference::parse(&canonical);
    assert_eq!(again.as_ref(), Ok(&reference), "{canonical:?}");
}
