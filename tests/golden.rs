//! Tests that disk images have the SHA-256 in a table, on any system and however they are built.
//!
//! A case is an image and options. Its digest in `tests/golden/digests` holds for every way to
//! build it: from a layout or a registry, by any user, in any directory, time zone, locale and
//! umask, on any system and processor.
//!
//! # How to add a row
//!
//! 1. An option that changes bytes: a row in [`VARIANTS`], which is built from the stack
//!    `everything`. A kind of layer content: a stack in `stacks`, or entries in a stack. Entries
//!    change its digests, and those of `everything` if that includes the stack.
//! 2. Other combinations of stacks and options are listed in [`cases`].
//! 3. `just golden` writes the table again. In its diff, look for lines that changed although their
//!    case did not: each of them is a change to the bytes of images, and needs a line under "Image
//!    bytes" in CHANGELOG.md. All lines change with the version of the program, which is in the
//!    provenance.
//!
//! The UUID, the seed of the hashes and the provenance derive from the digest of the manifest,
//! which depends on the compression of the layers. The same layers with gzip and zstd are therefore
//! two images with rows of their own. One test checks that they differ in nothing else.
//!
//! `ext4/tests/golden.rs` does the same for the writer alone, with trees and options that no image
//! leads to.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[cfg(target_os = "linux")]
mod environment;
mod stacks;
mod table;
mod wrapping;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use ext4::{BlockSize, Fit, Inodes, Journal, Label, Options, Size, Timestamp};
use layer::cancel::Cancel;
use microagent::diff::{DiffOptions, DiffSection, diff};
use microagent::guest::Init;
use microagent::rootfs::{BuildOptions, BuildReport, build, build_into};
use oci::{Platform, Reference};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use stacks::{EVERYTHING, STACKS};
use support::layout::{CONFIG, MANIFEST, TestLayout, digest};
use support::server::Server;
use support::tools::assert_clean_where_installed;
use wrapping::Wrapping;

/// Changes the options of a case.
type Change = fn(&mut BuildOptions);

/// A row of the table: an image, and a change to the options.
struct Case {
    name: String,
    image: Image,
    change: Change,
}

#[derive(Clone, Copy)]
enum Image {
    /// The sample image of the repository, for an architecture.
    Hello(&'static str),
    /// A stack of layers, and how they are compressed.
    Stack(&'static str, Wrapping),
}

/// Options that change the bytes of an image, each alone.
const VARIANTS: [(&str, Change); 18] = [
    ("block-size-1024", |options| {
        options.file_system.block_size = BlockSize::Kib1;
    }),
    ("block-size-2048", |options| {
        options.file_system.block_size = BlockSize::Kib2;
    }),
    ("block-size-65536", |options| {
        options.file_system.block_size = BlockSize::Kib64;
    }),
    ("no-journal", |options| options.file_system.journal = Journal::None),
    ("journal-mib-8", |options| {
        options.file_system.journal = Journal::Bytes(8 << 20);
    }),
    ("inline-data", |options| options.file_system.inline_data = true),
    ("inline-data-1024", |options| {
        options.file_system.inline_data = true;
        options.file_system.block_size = BlockSize::Kib1;
    }),
    ("size-mib-64", |options| {
        options.file_system.size = Size::Fixed(64 << 20);
    }),
    ("size-mib-300", |options| {
        options.file_system.size = Size::Fixed(300 << 20);
    }),
    ("free-mib-200", |options| options.file_system.size = fit_with_free(200)),
    ("label", |options| {
        options.file_system.label = Label::new("sixteen letters!").unwrap();
    }),
    ("uuid", |options| {
        options.uuid = Some("6b8e2bd4-9d23-8c5a-9a37-0b5f1d2c3e4f".parse().unwrap());
    }),
    ("inodes-10000", |options| {
        options.file_system.inodes = Inodes::AtLeast(10_000);
    }),
    ("reserved-percent-5", |options| options.file_system.reserved_percent = 5),
    ("source-date-epoch", |options| {
        options.max_time = Some(Timestamp::saturating(1_000_000_000, 0));
    }),
    ("init", |options| options.init = Some(Init::default())),
    ("init-exec", |options| {
        let init = options.init.insert(Init::default());
        init.exec = Some(b"echo 'hello'".to_vec());
    }),
    ("everything-at-once", |options| {
        options.file_system = Options {
            block_size: BlockSize::Kib1,
            inline_data: true,
            journal: Journal::None,
            reserved_percent: 1,
            label: Label::new("all").unwrap(),
            size: Size::Fixed(100 << 20),
            ..options.file_system.clone()
        };
    }),
];

/// Returns all rows of the table.
fn cases() -> Vec<Case> {
    let case = |name: String, image, change| Case { name, image, change };
    let mut cases = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let image = Image::Hello(architecture);
        cases.push(case(format!("hello/{architecture}"), image, |_| {}));
        cases.push(case(format!("hello/{architecture}/as-built"), image, |options| {
            options.init = Some(Init::default());
            options.file_system = Options::new([0; 16]);
        }));
    }
    for (name, _) in STACKS {
        cases.push(case(name.to_owned(), Image::Stack(name, Wrapping::Plain), |_| {}));
    }
    for (name, stack, wrapping) in [
        ("gzip", EVERYTHING, Wrapping::Gzip),
        ("zstd", EVERYTHING, Wrapping::Zstd),
        ("zstd", "sparse", Wrapping::Zstd),
        ("gzip", "many", Wrapping::Gzip),
    ] {
        cases.push(case(format!("{stack}/{name}"), Image::Stack(stack, wrapping), |_| {}));
    }
    for (name, change) in VARIANTS {
        let stack = if name.starts_with("init-") { "shell" } else { EVERYTHING };
        let image = Image::Stack(stack, Wrapping::Plain);
        cases.push(case(format!("{stack}/{name}"), image, change));
    }
    for (stack, name) in [
        ("big", "block-size-1024"),
        ("many", "block-size-1024"),
        ("sparse", "block-size-1024"),
        ("many", "inline-data"),
        ("deep", "inline-data"),
    ] {
        let (_, change) = VARIANTS.iter().find(|(other, _)| *other == name).unwrap();
        let image = Image::Stack(stack, Wrapping::Plain);
        cases.push(case(format!("{stack}/{name}"), image, *change));
    }
    cases
}

/// Returns the smallest size with `free_mib` MiB of free space, as `--free-mib` does.
fn fit_with_free(free_mib: u64) -> Size {
    Size::Fit(Fit {
        free: free_mib << 20,
        free_percent: 0,
        min: 0,
        ..Fit::default()
    })
}

/// An image in an image layout.
struct StoredImage {
    /// The temporary layout, unless the image is in the repository.
    layout: Option<TestLayout>,
    directory: PathBuf,
    manifest: Value,
    architecture: &'static str,
}

impl Image {
    fn store(self) -> StoredImage {
        match self {
            Self::Hello(architecture) => {
                let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hello");
                let index: Value = serde_json::from_slice(&fs::read(directory.join("index.json")).unwrap()).unwrap();
                StoredImage {
                    layout: None,
                    directory,
                    manifest: index["manifests"][0].clone(),
                    architecture,
                }
            }
            Self::Stack(name, wrapping) => {
                StoredImage::with_layers(&stacks::layers(name), |tar| wrapping.wrap(tar), wrapping)
            }
        }
    }
}

impl StoredImage {
    /// Writes a layout with an image for amd64 of these tars, compressed by `wrap`.
    fn with_layers(tars: &[Vec<u8>], wrap: impl Fn(&[u8]) -> Vec<u8>, wrapping: Wrapping) -> Self {
        let layout = TestLayout::new();
        let layers: Vec<_> = tars
            .iter()
            .map(|tar| layout.blob(wrapping.media_type(), &wrap(tar)))
            .collect();
        let diff_ids: Vec<_> = tars.iter().map(|tar| sha256(tar)).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/true"], "Env": ["A=b"], "WorkingDir": "/work"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = layout.document(CONFIG, &config);
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let manifest = layout.document(MANIFEST, &manifest);
        layout.publish(std::slice::from_ref(&manifest));
        let directory = layout.path().to_owned();
        Self {
            layout: Some(layout),
            directory,
            manifest,
            architecture: "amd64",
        }
    }

    /// Returns the reference of the image in the layout.
    fn reference(&self) -> String {
        format!("oci:{}@{}", self.directory.display(), digest(&self.manifest))
    }
}

/// Builds an image with the options of all cases, changed, and passes it to a function.
fn with_build<T>(
    reference: &str,
    architecture: &str,
    change: Change,
    inspect: impl FnOnce(&Path, &BuildReport) -> T,
) -> T {
    with_build_on(1, reference, architecture, change, inspect)
}

/// Builds an image on this number of threads, and passes it to a function.
fn with_build_on<T>(
    threads: usize,
    reference: &str,
    architecture: &str,
    change: Change,
    inspect: impl FnOnce(&Path, &BuildReport) -> T,
) -> T {
    let directory = TempDir::new().unwrap();
    let output = directory.path().join("image.ext4");
    let mut options = options(reference, architecture);
    options.state_dir = directory.path().join("state");
    options.threads = NonZeroUsize::new(threads).unwrap();
    change(&mut options);
    let report = build(&options, &output, &Cancel::new()).unwrap_or_else(|error| panic!("{reference}: {error:?}"));
    inspect(&output, &report)
}

/// Returns the options of all cases.
fn options(reference: &str, architecture: &str) -> BuildOptions {
    let mut options = BuildOptions::new(Reference::parse(reference).unwrap());
    options.platform = Platform::parse("linux", architecture).unwrap();
    options.cache_limit = u64::MAX;
    options.file_system.size = fit_with_free(10);
    options.init = None;
    options.digest = true;
    options.sync = false;
    options
}

/// Builds an image, and returns the digest in the report.
fn digest_of(reference: &str, architecture: &str, change: Change) -> String {
    with_build(reference, architecture, change, |_, report| {
        report.output_digest.as_ref().unwrap().to_string()
    })
}

/// Returns the SHA-256 of bytes, as `sha256:` and hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

#[test]
fn images_from_layouts_have_the_digests_in_the_table() {
    let found: Vec<_> = cases()
        .iter()
        .map(|case| {
            let stored = case.image.store();
            let digest = with_build(&stored.reference(), stored.architecture, case.change, |file, report| {
                assert_clean_where_installed(file, &case.name);
                report.output_digest.as_ref().unwrap().to_string()
            });
            (case.name.clone(), digest)
        })
        .collect();
    table::check(&found);
    let distinct: BTreeSet<_> = found.iter().map(|(_, digest)| digest).collect();
    assert_eq!(distinct.len(), found.len(), "two cases have the same bytes");
}

#[test]
fn the_number_of_threads_does_not_matter() {
    for case in cases() {
        let stored = case.image.store();
        for threads in [2, 8] {
            let (reference, architecture) = (stored.reference(), stored.architecture);
            let digest = with_build_on(threads, &reference, architecture, case.change, |_, report| {
                report.output_digest.as_ref().unwrap().to_string()
            });
            table::check_one(&case.name, &digest);
        }
    }
}

#[test]
fn output_digest_covers_all_bytes_of_the_file() {
    let unchanged: Change = |_| {};
    let large: Change = |options| options.file_system.size = Size::Fixed(300 << 20);
    for (stack, change) in [("sparse", unchanged), (EVERYTHING, large)] {
        let stored = Image::Stack(stack, Wrapping::Plain).store();
        with_build(&stored.reference(), "amd64", change, |file, report| {
            let bytes = fs::read(file).unwrap();
            assert_eq!(bytes.len() as u64, report.size_bytes);
            assert_eq!(report.output_digest.as_ref().unwrap().to_string(), sha256(&bytes));
        });
    }
}

#[test]
fn a_build_into_memory_has_the_same_bytes() {
    let stored = Image::Hello("amd64").store();
    let change: Change = |options| options.init = Some(Init::default());
    with_build(&stored.reference(), stored.architecture, change, |file, report| {
        let mut options = options(&stored.reference(), stored.architecture);
        change(&mut options);
        // Earlier content of the memory must not remain.
        let mut memory = vec![0xff; 1 << 20];
        let other = build_into(&options, &mut memory, &Cancel::new()).unwrap();
        assert!(memory == fs::read(file).unwrap());
        assert_eq!(other.size_bytes, memory.len() as u64);
        assert_eq!((other.uuid, &other.init_path), (report.uuid, &report.init_path));
        assert_eq!((other.output_path, other.output_digest), (None, None));
    });
}

#[test]
fn images_from_a_registry_have_the_same_bytes() {
    for name in ["kinds", EVERYTHING, "everything/gzip", "everything/zstd", "sparse/zstd"] {
        let cases = cases();
        let case = cases.iter().find(|case| case.name == name).unwrap();
        let stored = case.image.store();
        let server = Server::of(stored.layout.as_ref().unwrap(), &stored.manifest, |_, _| None);
        let reference = server.reference(&format!("@{}", digest(&stored.manifest)));
        table::check_one(name, &digest_of(&reference, stored.architecture, case.change));
        assert!(server.count("/blobs/") > 0, "the layers were downloaded");
    }
}

/// Layers that are compressed differently, by real compressors as well, give the same disk image,
/// except for what derives from the digest of the manifest.
#[test]
fn compression_changes_only_uuid_seed_and_provenance() {
    let level = 3;
    let real_zstd = |tar: &[u8]| zstd::encode_all(tar, level).unwrap();
    let real_gzip = |tar: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(tar).unwrap();
        encoder.finish().unwrap()
    };
    let tars = stacks::layers(EVERYTHING);
    let plain = Image::Stack(EVERYTHING, Wrapping::Plain).store();
    for other in [
        Image::Stack(EVERYTHING, Wrapping::Gzip).store(),
        Image::Stack(EVERYTHING, Wrapping::Zstd).store(),
        StoredImage::with_layers(&tars, real_gzip, Wrapping::Gzip),
        StoredImage::with_layers(&tars, real_zstd, Wrapping::Zstd),
    ] {
        with_build(
            &plain.reference(),
            "amd64",
            |_| {},
            |plain, _| {
                with_build(
                    &other.reference(),
                    "amd64",
                    |_| {},
                    |other, _| {
                        let mut fields = BTreeSet::new();
                        diff(
                            plain,
                            other,
                            DiffOptions::default(),
                            &Cancel::new(),
                            &mut |difference| {
                                if difference.section != DiffSection::Bytes {
                                    fields.insert(difference.field.clone());
                                }
                                Ok(())
                            },
                        )
                        .unwrap();
                        assert_eq!(fields, ["digest", "hash_seed", "uuid"].map(str::to_owned).into());
                    },
                );
            },
        );
    }
}
