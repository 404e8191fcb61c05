//! Images in files on this machine: what each transport of such files implements.

use super::blob::BlobBytes;
use super::digest::Digest;
use super::error::ImageError;
use super::image::Layer;
use super::manifest::{IndexEntry, RawDocument};

/// Files on this machine that hold images. Implemented once per transport.
pub(super) trait LocalImage: Send + Sync {
    /// Returns the document or documents that the reference names.
    fn target(&self) -> Result<ReferenceTarget, ImageError>;

    /// Returns the index, manifest or config with this digest. `size` is the one in its descriptor,
    /// if known.
    fn document(&self, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>, ImageError>;

    /// Opens the blob of a layer. Fails if its size is not `size`.
    fn blob(&self, digest: &Digest, size: u64) -> Result<BlobBytes, ImageError>;
}

/// The content that a reference names, before a platform is chosen.
pub(super) enum ReferenceTarget {
    /// A manifest or an index.
    Document(RawDocument),
    /// Several images of the same name, for different platforms.
    Candidates {
        images: Vec<IndexEntry>,
        /// The error to return if two of them are equally near to the platform.
        ambiguous: ImageError,
    },
    /// The only layer of an image without a manifest or config.
    Layer(Layer),
}
