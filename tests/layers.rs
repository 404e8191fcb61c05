//! Tests of what layers do to a tree: most cases are one line, with layers in and the expected tree
//! out.
//!
//! # Notation
//!
//! Layers and trees are written in the same notation, one word for each entry:
//!
//! | word | entry |
//! |---|---|
//! | `d/` | a directory |
//! | `f=text` | a file and its content; in a layer, `f` alone is an empty file or a whiteout |
//! | `l->target` | a symlink |
//! | `h==f` | a hard link to `f`; in a tree, `f` is the first name of the file |
//! | `c!5:1`, `b!!8:0`, `p\|` | a character device, a block device, a pipe |
//! | `f=text(600,5:6,@7,user.a=b)` | mode, owner and group, time of change, extended attributes |
//!
//! Defaults are omitted: mode 0755 for directories, 0777 for symlinks and 0644 for others, owner
//! root, one second after the epoch. A directory without an entry of its own is therefore `d/(@0)`
//! in the expected tree. `\xNN` is a byte. The root is `./`, and is omitted in a tree unless an
//! entry set its metadata. An expected text that begins with `error:` is a failure, whose message
//! must contain each of the words. Example:
//!
//! ```text
//! whiteout_of_a_file: ["d/ d/f=old", "d/.wh.f g=new(600)"] => "d/ g=new(600)";
//! ```
//!
//! `notation` parses and prints the words. What they cannot say is built with
//! `support::tar::Entry`, and checked with [`check_tars`] or [`apply`].
//!
//! # Where a case belongs
//!
//! - `specification`: a sentence of the image-spec; `whiteouts`, `links`, `parents`, `paths`: a
//!   rule of that name, which the image-spec leaves open or a peer breaks;
//! - `order`: the order of whiteouts in random layers;
//! - `attributes`: extended attributes and ACLs; `sparse`: sparse files; `dialects`: the other
//!   fields and extended headers of v7, ustar, GNU, star and PAX; `wrappings`: compression;
//! - `suites`, `go_tar`, `tar_crate`: cases of other projects, by their names; `programs`: tars
//!   that programs write;
//! - `damage`: tars that are cut off or corrupt; `limits`: values right below and above each limit.
//!
//! Where engines disagree on a case, add a row to `tests/layers/README.md`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::doc_markdown,
    reason = "cases of other projects have the names that they have there"
)]

mod attributes;
mod damage;
mod dialects;
mod go_tar;
mod limits;
mod links;
mod notation;
mod order;
mod parents;
mod paths;
mod programs;
mod sparse;
mod specification;
mod suites;
mod tar_crate;
mod whiteouts;
mod wrappings;

use ext4::{Fit, Formatter, Journal, Options, Size};
use layer::{LayerError, LayerOptions, LayerSummary, RootfsBuilder};

/// Makes a test of each line: a name, layers, and the expected tree or error.
macro_rules! cases {
    ($($(#[$doc:meta])* $name:ident: [$($layer:expr),* $(,)?] => $expected:expr;)*) => {
        $(
            $(#[$doc])*
            #[test]
            fn $name() {
                $crate::layers::check(&[$($layer),*], $expected);
            }
        )*
    };
}
pub(crate) use cases;

/// Returns an empty file system that takes no more room than its content needs.
pub(crate) fn empty() -> RootfsBuilder<Vec<u8>> {
    let options = Options {
        size: Size::Fit(Fit {
            free: 0,
            free_percent: 0,
            min: 1 << 20,
            ..Fit::default()
        }),
        journal: Journal::None,
        growth: false,
        ..Options::new([7; 16])
    };
    RootfsBuilder::new(Formatter::new(Vec::new(), options).unwrap())
}

/// Applies tars one after the other, and returns the resulting tree in the notation.
pub(crate) fn apply(tars: &[Vec<u8>]) -> Result<(Vec<String>, Vec<LayerSummary>), LayerError> {
    apply_with(tars, &LayerOptions::default())
}

/// Applies tars with these options, like [`apply`].
pub(crate) fn apply_with(
    tars: &[Vec<u8>],
    options: &LayerOptions,
) -> Result<(Vec<String>, Vec<LayerSummary>), LayerError> {
    let mut rootfs = empty();
    let summaries = tars
        .iter()
        .map(|tar| rootfs.apply(&tar[..], options))
        .collect::<Result<_, _>>()?;
    Ok((notation::show(rootfs), summaries))
}

/// Returns the message of an error with those of its causes.
pub(crate) fn message(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", message(source)),
        None => error.to_string(),
    }
}

/// Applies layers in the notation, and checks the resulting tree. If `expected` begins with
/// `error:`, checks the words of the error.
pub(crate) fn check(layers: &[&str], expected: &str) {
    let tars: Vec<Vec<u8>> = layers
        .iter()
        .map(|layer| support::tar::archive(&notation::entries(layer)))
        .collect();
    check_tars(&tars, expected);
}

/// Applies tars, and checks the resulting tree or error, like [`check`].
pub(crate) fn check_tars(tars: &[Vec<u8>], expected: &str) {
    match (apply(tars), expected.strip_prefix("error:")) {
        (Ok((tree, _)), None) => compare(&tree, expected),
        (Err(error), Some(words)) => {
            let message = message(&error);
            for word in words.split_whitespace() {
                assert!(message.contains(word), "{word:?} is missing in {message:?}");
            }
        }
        (Ok((tree, _)), Some(_)) => panic!("expected an error, found {tree:?}"),
        (Err(error), None) => panic!("{}", message(&error)),
    }
}

/// Checks that a tree has exactly these words.
pub(crate) fn compare(tree: &[String], expected: &str) {
    let expected: Vec<&str> = expected.split_whitespace().collect();
    let missing: Vec<_> = expected
        .iter()
        .filter(|word| !tree.iter().any(|shown| shown == *word))
        .collect();
    let surplus: Vec<_> = tree
        .iter()
        .filter(|shown| !expected.contains(&shown.as_str()))
        .collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "missing: {missing:?}, unexpected: {surplus:?}"
    );
}
