//! Options for opening a source.

use std::path::PathBuf;

use super::progress::Event;
#[cfg(feature = "registry")]
use super::registry::RegistryOptions;
use layer::Limits;
use layer::cancel::Cancel;
use layer::events::Events;

/// Options for [`Source::open`](super::Source::open).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SourceOptions {
    /// State directory, for downloads and decompressed archives. Created when it is first needed.
    pub state_dir: PathBuf,
    /// Certificates, credentials and connection settings for registries.
    #[cfg(feature = "registry")]
    pub registry: RegistryOptions,
    /// Set to cache the uncompressed tars of layers in the state directory, and to read layers from
    /// there.
    pub keep_unpacked: bool,
    /// Limit in bytes on all layers to download, and on an archive that has to be spooled because
    /// it is compressed or comes through a pipe.
    pub max_download: u64,
    /// Listener for progress and waits.
    pub events: Events<Event>,
    /// Ends reads and waits with [`ImageError::Cancelled`](super::ImageError::Cancelled) when it is
    /// set.
    pub cancel: Cancel,
}

impl SourceOptions {
    /// Returns options with this state directory and defaults for the rest: no tar cache, no
    /// credentials, and a download limit that fits layers within the default [`Limits`].
    ///
    /// Only registries, compressed or piped archives, and the tar cache use the directory.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            #[cfg(feature = "registry")]
            registry: RegistryOptions::default(),
            keep_unpacked: false,
            max_download: Limits::default().max_compressed(),
            events: Events::default(),
            cancel: Cancel::new(),
        }
    }
}
