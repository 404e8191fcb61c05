//! The sample image, `examples/hello`: it is complete, small, reproducible, and named in the README
//! by its digest.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::skip::skip;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn layout() -> PathBuf {
    repository().join("examples/hello")
}

fn blob(digest: &str) -> Vec<u8> {
    let hex = digest.strip_prefix("sha256:").expect("the sample uses SHA-256");
    fs::read(layout().join("blobs/sha256").join(hex)).expect("every digest of the sample names a blob")
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("the documents of the sample are JSON")
}

fn index() -> Value {
    json(&fs::read(layout().join("index.json")).expect("a layout has an index.json"))
}

fn sha256(bytes: &[u8]) -> String {
    let mut digest = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        write!(digest, "{byte:02x}").expect("writing to a string succeeds");
    }
    digest
}

/// Collects the digests of all descriptors that are reachable from a document. Checks the size and
/// digest of each one's blob.
fn collect_digests(document: &Value, seen: &mut BTreeSet<String>) {
    match document {
        Value::Array(items) => items.iter().for_each(|item| collect_digests(item, seen)),
        Value::Object(fields) => {
            fields.values().for_each(|field| collect_digests(field, seen));
            let Some(digest) = fields.get("digest").and_then(Value::as_str) else {
                return;
            };
            let bytes = blob(digest);
            assert_eq!(fields["size"], bytes.len(), "size of {digest}");
            assert_eq!(digest, sha256(&bytes));
            seen.insert(digest.to_owned());
            if fields["mediaType"]
                .as_str()
                .is_some_and(|media_type| media_type.ends_with("json"))
            {
                collect_digests(&json(&bytes), seen);
            }
        }
        _ => {}
    }
}

#[test]
fn every_blob_is_reachable_and_has_the_digest_and_size_of_its_descriptor() {
    let mut reachable = BTreeSet::new();
    collect_digests(&index(), &mut reachable);
    let stored: BTreeSet<String> = fs::read_dir(layout().join("blobs/sha256"))
        .expect("a layout has blobs")
        .map(|entry| format!("sha256:{}", entry.expect("blobs can be listed").file_name().display()))
        .collect();
    assert_eq!(stored, reachable);
}

#[test]
fn the_sample_stays_small() {
    let blobs = fs::read_dir(layout().join("blobs/sha256")).expect("a layout has blobs");
    let size: u64 = blobs
        .map(|entry| entry.and_then(|entry| entry.metadata()).expect("readable").len())
        .sum();
    assert!(size < 50 << 10, "{size} bytes");
}

#[test]
fn readme_pins_the_sample_by_its_digest() {
    let readme = fs::read_to_string(repository().join("README.md")).expect("the repository has a README");
    let digest = index()["manifests"][0]["digest"]
        .as_str()
        .expect("a descriptor has a digest")
        .to_owned();
    assert!(
        readme.contains(&format!("oci:examples/hello@{digest}")),
        "README.md does not name {digest}"
    );
}

#[test]
fn first_command_of_the_readme_builds_the_sample() {
    let readme = fs::read_to_string(repository().join("README.md")).expect("the repository has a README");
    let line = readme
        .lines()
        .find(|line| line.starts_with("cargo run "))
        .expect("the README has a cargo command");
    let (_, arguments) = line
        .split_once(" -- ")
        .expect("the command passes arguments to the program");
    let directory = tempfile::tempdir().expect("the temporary directory is writable");
    let output = Command::new(env!("CARGO_BIN_EXE_microagent"))
        .args(
            arguments
                .split(' ')
                .map(|word| word.replace("oci:", &format!("oci:{}/", repository().display()))),
        )
        .arg("--state-dir")
        .arg(directory.path().join("state"))
        .current_dir(directory.path())
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let image = File::open(directory.path().join("hello.ext4")).expect("the command names its output");
    let report = ext4::check(image).expect("the image can be read");
    assert!(report.is_clean(), "{report:#?}");
}

#[test]
fn generator_reproduces_the_sample() {
    let directory = tempfile::tempdir().expect("the temporary directory is writable");
    let generator = repository().join("examples/make-hello");
    let run = Command::new("python3")
        .arg("-B")
        .arg(generator)
        .arg(directory.path())
        .envs([("TZ", "Pacific/Kiritimati"), ("LC_ALL", "C"), ("PYTHONHASHSEED", "1")])
        .output();
    if run.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return skip("python3 is not installed");
    }
    assert!(run.expect("python3 runs").status.success());
    assert_eq!(files(directory.path()), files(&layout()));
}

/// Returns all files below a directory, with their content.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(relative) = pending.pop() {
        let path = directory.join(&relative);
        if path.is_dir() {
            let children = fs::read_dir(path).expect("the directory can be listed");
            pending.extend(children.map(|entry| relative.join(entry.expect("listed").file_name())));
        } else {
            found.push((relative, fs::read(path).expect("the file can be read")));
        }
    }
    found.sort();
    found
}
