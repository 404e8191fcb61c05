//! Image sources from the outside: layouts with anything wrong in them, a registry that fails in every way, a real one.

#![expect(clippy::unwrap_used, reason = "what a test sets up must succeed")]
#![cfg_attr(unix, expect(clippy::print_stdout, reason = "a skipped test has to say so"))]

mod archives;
mod asynchronous;
mod documents;
mod downloads;
mod events;
mod faults;
mod layouts;
mod logins;
mod luck;
#[cfg(unix)]
mod neighbours;
mod platforms;
#[cfg(unix)]
mod private;
mod proxies;
mod real;
mod redirects;
mod registries;
mod secrets;
mod store;
mod streams;
mod threads;
mod tokens;
mod tracing;
mod windows;

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

/// A state directory, and how to use it.
struct State {
    directory: TempDir,
    registry: RegistryOptions,
    keep_unpacked: bool,
    /// The latest progress that was reported.
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

    /// Where the store has a blob.
    fn stored(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.directory.path().join("state/blobs/sha256").join(hex)
    }

    /// Where the store has the beginning of a blob.
    fn partial(&self, digest: &str) -> PathBuf {
        self.stored(digest).with_extension("partial")
    }
}

fn with_auth_file(auth_file: PathBuf) -> RegistryOptions {
    let mut options = RegistryOptions::default();
    options.auth_files.named = Some(auth_file);
    options
}

/// Opens a reference and resolves it for an architecture of Linux.
fn resolve(reference: &str, architecture: &str) -> Result<Image, ImageError> {
    State::new().open(reference)?.resolve(&linux(architecture))
}

fn linux(architecture: &str) -> Platform {
    Platform::parse("linux", architecture).unwrap()
}

/// `microagent rootfs build` of what is in the image and nothing else, for amd64.
fn rootfs_build(reference: &str, out: &Path, state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_microagent"));
    command.args(["rootfs", "build", "--arch", "amd64", "--init", "none"]);
    command.args(["--image", reference, "--out"]).arg(out);
    command.arg("--state-dir").arg(state);
    command
}

/// The verified bytes of a layer.
fn read(source: &Source, layer: &Layer) -> Result<Vec<u8>, ImageError> {
    let mut blob = VerifyingReader::new(source.blob(layer)?, layer.digest.clone(), Some(layer.size));
    let mut content = Vec::new();
    let read = blob.read_to_end(&mut content);
    source.wait_downloaded(layer)?;
    read.unwrap();
    blob.finish().unwrap();
    Ok(content)
}

/// An error with all its causes, as a user gets to see it.
fn chain(error: &ImageError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
