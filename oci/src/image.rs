//! Images for one platform, their layers, and the entries of a list of images.

use std::fs::File;
use std::sync::Arc;

use serde::Serialize;

use super::config::Config;
#[cfg(test)]
use super::digest::Algorithm;
use super::digest::Digest;
use super::platform::Platform;

/// An image for one platform.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Image {
    /// The reference in canonical form, pinned to [`Image::digest`].
    pub resolved_ref: String,
    /// Digest of the image's manifest.
    pub digest: Digest,
    /// Platform that the index lists for the image; without an index entry, the one in the config.
    /// If neither names a platform, the one that the caller asked for.
    pub platform: Platform,
    /// Platform in the config, as written, if it differs from the one that the index lists.
    pub config_platform: Option<String>,
    /// Config of the image: its platform, how to run it, and the digests of its layers.
    pub config: Config,
    /// Layers, lowest first.
    pub layers: Vec<Layer>,
}

/// A layer: a tar archive, compressed or not, of changes to the layers below.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layer {
    /// Digest of the blob. For a cached tar, the same as [`Layer::diff_id`].
    pub digest: Digest,
    /// Size of the blob in bytes. For a cached tar, the size of the tar.
    pub size: u64,
    /// Media type that the manifest lists, as written; empty if the source has no media types.
    pub media_type: String,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The cached tar that is read in place of the blob that the manifest lists.
    pub(super) cached_tar: Option<CachedTar>,
}

/// Digest and size of a blob, as a manifest lists them.
#[derive(Debug, Clone)]
pub(super) struct BlobRef {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

#[cfg(test)]
impl BlobRef {
    /// Returns a reference to a blob whose digest is that of `name`.
    pub(super) fn named(name: &[u8], size: u64) -> Self {
        let digest = Digest::of(Algorithm::Sha256, name);
        Self { digest, size }
    }
}

/// An open file of the tar cache. It stays readable after its name is removed.
///
/// Two values are equal if they share one open file.
#[derive(Debug, Clone)]
pub(super) struct CachedTar(pub(super) Arc<File>);

impl PartialEq for CachedTar {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for CachedTar {}

impl Image {
    /// Creates an image without layers from a config.
    #[must_use]
    pub fn new(resolved_ref: String, digest: Digest, platform: Platform, config: Config) -> Self {
        Self {
            resolved_ref,
            digest,
            platform,
            config_platform: None,
            config,
            layers: Vec::new(),
        }
    }
}

impl Layer {
    /// Returns whether the layer is read from the tar cache in the state directory.
    #[must_use]
    pub fn is_cached_tar(&self) -> bool {
        self.cached_tar.is_some()
    }

    pub(super) fn blob_ref(&self) -> BlobRef {
        BlobRef {
            digest: self.digest.clone(),
            size: self.size,
        }
    }
}

/// One of the images that a reference names, as [`Source::platforms`](super::Source::platforms)
/// lists it.
///
/// Serializes to JSON as an object with these three members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ListedImage {
    /// Platform of the image; `None` if neither the index nor the config names one.
    pub platform: Option<Platform>,
    /// Digest of the manifest, or of a nested index. For a tar of a root file system, of the tar.
    pub digest: Digest,
    /// Size in bytes of the document or tar with that digest.
    pub size: u64,
}
