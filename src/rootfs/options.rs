//! Options of a build, with the defaults of the command.

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

/// Options of a build: which image, and what disk image it becomes.
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
    /// Platform that the image must be for.
    pub platform: Platform,
    /// Accepts an image that is not pinned by digest.
    pub allow_mutable: bool,
    /// Directory for temporary files and caches, which need not exist yet.
    pub state_dir: PathBuf,
    /// Limit in bytes on the downloads that the state directory keeps for other builds. More can be
    /// there during a build.
    pub cache_limit: u64,
    /// Keeps the unpacked layers in the state directory, so that a later build need not decompress
    /// them. They count towards [`BuildOptions::cache_limit`].
    pub keep_unpacked: bool,
    /// Credentials and transport of registries.
    #[cfg(feature = "registry")]
    pub registry: RegistryOptions,
    /// Reports phases, progress, waits and warnings.
    pub events: Events<Event>,
    /// Options of the file system. Its UUID and hash seed are not taken from here.
    pub file_system: Options,
    /// UUID of the file system; without, one that derives from the digest of the manifest.
    pub uuid: Option<Uuid>,
    /// The init that the image gets, if any.
    pub init: Option<Init>,
    /// Time that all newer times in the image become.
    pub newest: Option<Timestamp>,
    /// Path of an mke2fs that makes the file system in place of the native writer.
    pub mke2fs: Option<PathBuf>,
    /// Computes the SHA-256 of the output, for the report.
    pub digest: bool,
    /// Exports the tree of the finished image to the output's path with `.stage` after it.
    pub keep_stage: bool,
    /// Directory to export the tree of the finished image to, at a path where nothing is yet.
    pub stage_snapshot: Option<PathBuf>,
    /// Threads that read, decompress, hash, apply and write the layers, the calling one included.
    /// Their number changes no byte.
    pub threads: NonZeroUsize,
    /// Waits for the disk image to be on the disk (fsync) before it gets its name.
    pub sync: bool,
    /// Limits on what the image costs. A fixed size may be larger than its limit, and the layers
    /// then as large as the disk.
    pub limits: Limits,
}

impl BuildOptions {
    /// Creates options for an image, with the defaults of the command.
    ///
    /// That is an image pinned by digest, for Linux on the architecture of this machine, with an
    /// init at its default path, a native file system that fits its content, one thread a
    /// processor, an fsync at the end, and [`default_state_dir`]. There are no credentials.
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
            newest: None,
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

/// Returns the state directory of the command: `.microagent` in the home directory, or `None`
/// without one.
#[must_use]
pub fn default_state_dir() -> Option<PathBuf> {
    let home = env::home_dir().filter(|home| !home.as_os_str().is_empty());
    home.map(|home| home.join(".microagent"))
}
