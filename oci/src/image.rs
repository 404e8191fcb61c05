//! An image for one platform, its layers, and the images that an index lists.

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
    /// The digest of the platform's manifest.
    pub digest: Digest,
    /// The platform as the index lists it, or without an index as the image says itself; where
    /// neither says one, the one that was asked for.
    pub platform: Platform,
    /// The platform that the config names, as written, where the index lists another one.
    pub config_platform: Option<String>,
    /// What the image says of itself.
    pub config: Config,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
}

/// A layer: a tar archive, compressed or not, of changes to the layers below.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layer {
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
    /// The media type of the blob, as written; empty where nothing says one.
    pub media_type: String,
    /// The digest of the tar archive in the blob.
    pub diff_id: Digest,
    /// The blob, if it is a tar that the state directory has kept, in place of what the manifest lists.
    pub(super) cached_tar: Option<CachedTar>,
}

/// What a manifest says of a blob.
#[derive(Debug, Clone)]
pub(super) struct BlobRef {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

#[cfg(test)]
impl BlobRef {
    /// Describes a blob with the digest of a name, of any size.
    pub(super) fn named(name: &[u8], size: u64) -> Self {
        let digest = Digest::of(Algorithm::Sha256, name);
        Self { digest, size }
    }
}

/// A file that stays readable whatever becomes of its name.
#[derive(Debug, Clone)]
pub(super) struct CachedTar(pub(super) Arc<File>);

impl PartialEq for CachedTar {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for CachedTar {}

impl Image {
    /// An image without layers, of a config that its caller has.
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
    /// Whether the blob is the tar, as the state directory has kept it.
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

/// An image that a reference names, as its index lists it. JSON has the three as members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ListedImage {
    /// The platform; `None` where neither the index nor the image names one.
    pub platform: Option<Platform>,
    /// The digest of the manifest, or of an index in the index.
    pub digest: Digest,
    /// The size of that document in bytes; of a tar, its own.
    pub size: u64,
}
