//! Interfaces of a layer's stages: its blob, its decoder, and the check of its tar.
//!
//! They are traits so that the model test can replace them.

use std::io::{self, BufRead, Read};

use crate::error::LayerFailure;
use layer::{Compression, DeclaredChecksum};
use oci::DigestError;

/// The layers of an image, lowest first.
pub(in crate::rootfs) trait LayerSource: Sync {
    /// Returns the number of layers.
    fn count(&self) -> usize;

    /// Returns whether a lower layer has the same blob. The source reports an error of a blob for
    /// one of its layers only.
    fn is_repeated(&self, index: usize) -> bool;

    /// Returns whether the blob is local, so that a read does not wait for a download.
    fn is_local(&self, index: usize) -> bool;

    /// Cancels downloads, which ends the waits of blob readers.
    fn cancel_downloads(&self);

    /// Opens a blob.
    ///
    /// # Errors
    ///
    /// [`LayerFailure::Source`].
    fn open(&self, index: usize) -> Result<Box<dyn BlobReader>, LayerFailure>;

    /// Detects the compression of an open blob, and returns its decoder; `None` if the blob is the
    /// tar.
    ///
    /// # Errors
    ///
    /// [`LayerFailure::Decode`].
    fn decoder(&self, index: usize, blob: Box<dyn BufRead + Send>) -> Result<OpenTar, LayerFailure>;

    /// Returns a check for a layer's tar, from its first byte.
    fn tar_check(&self, index: usize) -> Box<dyn TarCheck + '_>;
}

/// Compression of a layer, and its decoder unless the blob is the tar.
pub(in crate::rootfs) type OpenTar = (Compression, Option<Box<dyn TarDecoder>>);

/// A blob that is hashed as it is read.
pub(in crate::rootfs) trait BlobReader: Read + Send {
    /// Ends reading, and returns how the blob ended.
    fn finish(self: Box<Self>) -> BlobEnd;
}

/// Result of reading a blob to its end.
pub(in crate::rootfs) struct BlobEnd {
    /// An error if the blob could not be read to its end.
    pub(in crate::rootfs) read: io::Result<()>,
    /// An error if the blob does not match its digest and size in the manifest.
    pub(in crate::rootfs) verdict: Result<(), DigestError>,
}

/// A decoder that waits until memory for its window is granted.
pub(in crate::rootfs) trait TarDecoder: Read + Send {
    /// Grants memory for a window of at most `max` bytes.
    fn grant_window(&mut self, max: u64);

    /// Returns the size of the window in bytes that the next frame needs, if it exceeds the grant.
    /// Reads return 0 bytes until it is granted.
    fn wanted_window(&self) -> Option<u64>;

    /// Returns the checksum of the tar that the blob declares, once the tar was read to its end.
    fn checksum(&self) -> Option<DeclaredChecksum>;
}

/// Check of a tar: hashes it, and compares the results.
pub(in crate::rootfs) trait TarCheck: Send {
    /// Starts the checksum of gzip. Called before the first bytes, if the blob is compressed with
    /// it.
    fn begin_gzip(&mut self);

    /// Takes the next bytes.
    fn update(&mut self, bytes: &[u8]);

    /// Compares the checksum of all bytes with the one that the blob declares, if any.
    fn check_declared(&self, declared: Option<DeclaredChecksum>) -> io::Result<()>;

    /// Compares the digest of all bytes with the diff ID in the config.
    fn finish(self: Box<Self>) -> Result<(), DigestError>;
}
