//! What layers make of a tree: one case a line, layers in, tree out.
//!
//! Layers and trees are written down in the same way, one word an entry:
//!
//! | word | |
//! |---|---|
//! | `d/` | a directory |
//! | `f=text` | a file and its content |
//! | `l->target` | a symlink |
//! | `h==f` | a hard link to `f`; in a tree, `f` is the first of its names |
//! | `c!5:1`, `b!!8:0`, `p\|` | a character device, a block device, a pipe |
//! | `f=text(600,5:6,@7,user.a=b)` | mode, owner and group, time of change, extended attributes |
//!
//! What is left out is mode 0755 for directories, 0777 for symlinks and 0644 for others, root, and one second after the epoch:
//! a directory without an entry of its own is therefore a `d/(@0)`. `\xNN` is a byte. The root is `./`, and left out of a tree
//! if nobody gave it an entry. What is expected to fail is an error, of which the message must have each of the words.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::doc_markdown, reason = "cases of others are called by their own names")]

mod attributes;
mod damage;
mod dialects;
mod go_tar;
mod language;
mod limits;
mod links;
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

/// Makes a test of each line: a name, layers, and the tree that they make or the error that they are.
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

/// An empty file system that takes no more room than it needs.
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

/// Applies tars one after the other, and shows the tree that they make.
pub(crate) fn apply(tars: &[Vec<u8>]) -> Result<(Vec<String>, Vec<LayerSummary>), LayerError> {
    apply_with(tars, &LayerOptions::default())
}

pub(crate) fn apply_with(
    tars: &[Vec<u8>],
    options: &LayerOptions,
) -> Result<(Vec<String>, Vec<LayerSummary>), LayerError> {
    let mut rootfs = empty();
    let summaries = tars
        .iter()
        .map(|tar| rootfs.apply(&tar[..], options))
        .collect::<Result<_, _>>()?;
    Ok((language::show(rootfs), summaries))
}

/// The message of an error and of all its causes.
pub(crate) fn message(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", message(source)),
        None => error.to_string(),
    }
}

/// Checks what layers make: a tree, or an error if it begins with `error:`.
pub(crate) fn check(layers: &[&str], expected: &str) {
    let tars: Vec<Vec<u8>> = layers
        .iter()
        .map(|layer| support::tar::archive(&language::entries(layer)))
        .collect();
    check_tars(&tars, expected);
}

/// Checks what tars make.
pub(crate) fn check_tars(tars: &[Vec<u8>], expected: &str) {
    match (apply(tars), expected.strip_prefix("error:")) {
        (Ok((tree, _)), None) => compare(&tree, expected),
        (Err(error), Some(words)) => {
            let message = message(&error);
            for word in words.split_whitespace() {
                assert!(message.contains(word), "{word:?} is missing in {message:?}");
            }
        }
        (Ok((tree, _)), Some(_)) => panic!("no error but {tree:?}"),
        (Err(error), None) => panic!("{}", message(&error)),
    }
}

/// Checks that a tree has just these words.
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
        "{missing:?} should be there, {surplus:?} should not"
    );
}
