//! Image sources: registries, layouts, archives and tars, with credentials and the blob store.
//!
//! Most tests use a registry in the test's own process (`support::server::Server`), which can fail
//! in every way. A new case goes to the module of its subject:
//!
//! | module | tests |
//! |---|---|
//! | `archives` | `oci-archive:`, `docker-archive:`, `dir:` and `tar:` references |
//! | `asynchronous` | calls of the library from the threads of an asynchronous runtime |
//! | `corrupt_streams` | layers whose gzip or zstd stream is truncated or corrupt |
//! | `documents` | unusual and invalid manifests, configs and indexes |
//! | `downloads` | resumed, concurrent and unnecessary downloads |
//! | `events` | events of a build |
//! | `faults` | errors of a registry; the helpers for an image with one layer |
//! | `file_modes` | modes of files and directories in the state directory |
//! | `layouts` | layout directories |
//! | `logins` | `registry login`, from a `401` to an image |
//! | `other_users` | files and directories that belong to other users of the host |
//! | `platforms` | the choice and the list of platforms |
//! | `proxies` | HTTP and SOCKS proxies |
//! | `random_faults` | registries with pseudo-random faults |
//! | `real_registry` | Docker's registry, with images that skopeo pushes |
//! | `redirects` | redirects, and token servers on other hosts |
//! | `registries` | a table of variants of registries, each compared with skopeo |
//! | `secrets` | servers that repeat secrets, which the program must not print |
//! | `store` | builds that share a blob store, and `cache` commands |
//! | `threads` | builds with different numbers of threads |
//! | `tokens` | credentials and tokens: who receives them |
//! | `tracing` | log events of downloads |
//! | `zstd_windows` | zstd frames with large windows |

#![expect(clippy::unwrap_used, reason = "what a test sets up must succeed")]
#![cfg_attr(unix, expect(clippy::print_stdout, reason = "a skipped test prints the reason"))]

mod archives;
mod asynchronous;
mod corrupt_streams;
mod documents;
mod downloads;
mod events;
mod faults;
#[cfg(unix)]
mod file_modes;
mod layouts;
mod logins;
#[cfg(unix)]
mod other_users;
mod platforms;
mod proxies;
mod random_faults;
mod real_registry;
mod redirects;
mod registries;
mod secrets;
mod store;
mod threads;
mod tokens;
mod tracing;
mod zstd_windows;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use layer::cancel::Cancel;
use layer::events::Events;
use oci::{
    Event, Image, ImageError, Layer, Platform, Progress, Reference, RegistryOptions, Source, SourceOptions,
    VerifyingReader,
};
use tempfile::TempDir;

/// A state directory, and the options for sources that use it.
struct State {
    directory: TempDir,
    registry: RegistryOptions,
    keep_unpacked: bool,
    /// The progress that was reported last.
    progress: Arc<Mutex<Progress>>,
    cancel: Cancel,
    max_download: u64,
}

impl State {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            registry: RegistryOptions::default(),
            keep_unpacked: false,
            progress: Arc::default(),
            cancel: Cancel::new(),
            max_download: 1 << 30,
        }
    }

    fn with_auth(auth_file: PathBuf) -> Self {
        Self {
            registry: with_auth_file(auth_file),
            ..Self::new()
        }
    }

    fn open(&self, reference: &str) -> Result<Source, ImageError> {
        let mut options = SourceOptions::new(self.directory.path().join("state"));
        options.registry = self.registry.clone();
        options.keep_unpacked = self.keep_unpacked;
        options.max_download = self.max_download;
        options.events = Events::new({
            let latest = Arc::clone(&self.progress);
            move |event| {
                if let Event::Progress(progress) = event {
                    *latest.lock().unwrap() = progress;
                }
            }
        });
        options.cancel = self.cancel.clone();
        Source::open(&Reference::parse(reference).unwrap(), &options)
    }

    /// Returns the path of a blob in the store.
    fn stored(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.directory.path().join("state/blobs/sha256").join(hex)
    }

    /// Returns the path of a partial blob in the store.
    fn partial(&self, digest: &str) -> PathBuf {
        self.stored(digest).with_extension("partial")
    }
}

fn with_auth_file(auth_file: PathBuf) -> RegistryOptions {
    let mut options = RegistryOptions::default();
    options.auth_files.named = Some(auth_file);
    options
}

/// Opens a reference, and resolves it for Linux on an architecture.
fn resolve(reference: &str, architecture: &str) -> Result<Image, ImageError> {
    State::new().open(reference)?.resolve(&linux(architecture))
}

fn linux(architecture: &str) -> Platform {
    Platform::parse("linux", architecture).unwrap()
}

/// Returns the command of a build for amd64 without an init.
fn rootfs_build(reference: &str, out: &Path, state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_microagent"));
    command.args(["rootfs", "build", "--arch", "amd64", "--init", "none"]);
    command.args(["--image", reference, "--out"]).arg(out);
    command.arg("--state-dir").arg(state);
    command
}

/// Reads and verifies the blob of a layer.
fn read(source: &Source, layer: &Layer) -> Result<Vec<u8>, ImageError> {
    let mut blob = VerifyingReader::new(source.blob(layer)?, layer.digest.clone(), Some(layer.size));
    let mut content = Vec::new();
    let read = blob.read_to_end(&mut content);
    source.wait_downloaded(layer)?;
    read.unwrap();
    blob.finish().unwrap();
    Ok(content)
}

/// Returns the message of an error and of its causes, as the program prints it.
fn chain(error: &ImageError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
