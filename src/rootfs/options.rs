//! Options of a build, with the defaults of the command.
//!
//! To add an option:
//!
//! 1. Add a field to [`BuildOptions`], and its default to [`BuildOptions::new`]. `Build::options`
//!    in `src/cli/arguments.rs` must set the same default; a test there compares the two.
//! 2. Add the flag to `Build` in `src/cli/arguments.rs`, or to the group that it belongs to:
//!    `file_system.rs`, `limits.rs`, `registry.rs` or `state.rs` beside it. Its doc comment is the
//!    help. Completions and manual pages follow from it.
//! 3. Describe the flag in `README.md`.
//! 4. If hints refer to the option, add a `Setting` in `layer/src/failure.rs`, with the flag in
//!    `src/cli/hints.rs`.
//! 5. Test the flag in `tests/cli`. An option that changes bytes of the disk image gets a row in
//!    `tests/golden.rs` as well.

use std::env;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;

use ext4::{Options, Timestamp};
use uuid::Uuid;

use super::Event;
use crate::guest::Init;
use layer::Limits;
use layer::events::Events;
#[cfg(feature = "registry")]
use oci::RegistryOptions;
use oci::{Cache, Platform, Reference};

/// Options of a build: the OCI image, and properties of the disk image.
///
/// [`BuildOptions::new`] has the defaults of the command, and every field can be changed:
///
/// ```no_run
/// use ext4::Size;
/// use microagent::Cancel;
/// use microagent::rootfs::{BuildOptions, build};
///
/// let mut options = BuildOptions::new("oci:layout:latest".parse()?);
/// options.allow_mutable = true;
/// options.file_system.size = Size::Fixed(2 << 30);
/// let report = build(&options, "disk.ext4", &Cancel::new())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is one of the flags that users know")]
pub struct BuildOptions {
    /// The image.
    pub image: Reference,
    /// Platform of the image.
    pub platform: Platform,
    /// Accepts an image that is not pinned by digest.
    pub allow_mutable: bool,
    /// Directory for temporary files and caches. It is created if it does not exist.
    pub state_dir: PathBuf,
    /// Limit in bytes on the blobs and tars that remain in the state directory after a build. A
    /// build may exceed the limit while it runs.
    pub cache_limit: u64,
    /// Keeps the unpacked layers in the state directory, so that later builds do not decompress
    /// them. They count towards [`BuildOptions::cache_limit`].
    pub keep_unpacked: bool,
    /// Credentials and connection settings for registries.
    #[cfg(feature = "registry")]
    pub registry: RegistryOptions,
    /// Reports phases, progress, waits and warnings.
    pub events: Events<Event>,
    /// Options of the file system. Its UUID, hash seed and boot area are set by the build.
    pub file_system: Options,
    /// UUID of the file system. `None` derives it from the digest of the manifest.
    pub uuid: Option<Uuid>,
    /// Init to install in the image, if any.
    pub init: Option<Init>,
    /// Upper bound on file times in the image. Later times are set to it.
    pub max_time: Option<Timestamp>,
    /// Path of the mke2fs that makes the file system. `None` uses the native writer.
    pub mke2fs: Option<PathBuf>,
    /// Computes the SHA-256 of the output, for the report.
    pub digest: bool,
    /// Exports the tree of the finished image to the output's path with `.stage` appended.
    pub keep_stage: bool,
    /// Directory to export the tree of the finished image to. It must not exist.
    pub stage_snapshot: Option<PathBuf>,
    /// Number of threads that read, decompress, hash, apply and write the layers, including the
    /// calling thread. It does not affect the bytes of the disk image.
    pub threads: NonZeroUsize,
    /// Waits until the disk image is on the disk (fsync) before it is published.
    pub sync: bool,
    /// Limits on the resources that the layers take. A fixed size of the file system that is larger
    /// than the limit raises the limit.
    pub limits: Limits,
}

impl BuildOptions {
    /// Creates options for an image, with the defaults of the command.
    ///
    /// These are: an image pinned by digest, Linux on the architecture of this machine, an init at
    /// its default path, a file system by the native writer that fits its content, one thread per
    /// processor, an fsync at the end, [`default_state_dir`], and no credentials.
    #[must_use]
    pub fn new(image: Reference) -> Self {
        Self {
            image,
            platform: Platform::host(),
            allow_mutable: false,
            state_dir: default_state_dir().unwrap_or_default(),
            cache_limit: Cache::DEFAULT_LIMIT,
            keep_unpacked: false,
            #[cfg(feature = "registry")]
            registry: RegistryOptions::default(),
            events: Events::default(),
            file_system: Options::new([0; 16]),
            uuid: None,
            init: Some(Init::default()),
            max_time: None,
            mke2fs: None,
            digest: false,
            keep_stage: false,
            stage_snapshot: None,
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            sync: true,
            limits: Limits::default(),
        }
    }
}

/// Returns the default state directory of the command: `.microagent` in the home directory. Returns
/// `None` without a home directory.
#[must_use]
pub fn default_state_dir() -> Option<PathBuf> {
    let home = env::home_dir().filter(|home| !home.as_os_str().is_empty());
    home.map(|home| home.join(".microagent"))
}
