//! The table of digests, `tests/golden/digests`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Environment variable. If it is 1, the table is written instead of compared.
const UPDATE: &str = "UPDATE_GOLDEN";

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/digests")
}

/// Returns the first line, which names the version that is in all images.
fn header() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("# SHA-256 of disk images as microagent {version} builds them; `just golden` writes this file.")
}

/// Returns the digests by case. The file has the format of `sha256sum`.
fn read() -> BTreeMap<String, String> {
    let text = fs::read_to_string(path()).unwrap();
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some(&*header()),
        "images contain the version: run `just golden`, and review the diff"
    );
    let row = |line: &str| {
        let (hex, name) = line.split_once("  ").unwrap();
        (name.to_owned(), format!("sha256:{hex}"))
    };
    lines.map(row).collect()
}

/// Compares all cases with the table.
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

/// Compares one case with the table.
pub(crate) fn check_one(name: &str, digest: &str) {
    assert_eq!(digest, read()[name], "{name}");
}
