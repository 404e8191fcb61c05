//! The table of digests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Set to 1, the table is written instead of being held against.
const UPDATE: &str = "UPDATE_GOLDEN";

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/digests")
}

/// The first line, which names the version that is in all the images.
fn header() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("# SHA-256 of disk images as microagent {version} builds them; `just golden` writes this file.")
}

/// Digests by case, in the form of `sha256sum`.
fn read() -> BTreeMap<String, String> {
    let text = fs::read_to_string(path()).unwrap();
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some(&*header()),
        "the version is in the bytes: run `just golden`, and look at what it changes"
    );
    let row = |line: &str| {
        let (hex, name) = line.split_once("  ").unwrap();
        (name.to_owned(), format!("sha256:{hex}"))
    };
    lines.map(row).collect()
}

/// Holds all cases against the table.
pub(crate) fn check(found: &[(String, String)]) {
    if env::var_os(UPDATE).is_some_and(|value| value == "1") {
        let mut text = header() + "\n";
        for (name, digest) in found {
            let hex = digest.strip_prefix("sha256:").unwrap();
            writeln!(text, "{hex}  {name}").unwrap();
        }
        fs::write(path(), text).unwrap();
    }
    let found: BTreeMap<_, _> = found.iter().cloned().collect();
    assert_eq!(found, read());
}

/// Holds one case against the table.
pub(crate) fn check_one(name: &str, digest: &str) {
    assert_eq!(digest, read()[name], "{name}");
}
