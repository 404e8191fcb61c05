//! Interfaces of the stages of a layer: its blob, a decoder, and the check of its tar.
//!
//! These are traits, so that the model test has blobs and decoders of its own.

use std::io::{self, BufRead, Read};

use crate::error::LayerFailure;
use layer::{Compression, DeclaredChecksum};
use oci::DigestError;

/// The layers of an image, lowest first.
pub(in crate::rootfs) trait LayerSource: Sync {
    /// Returns the number of layers.
    fn count(&self) -> usize;

    /// Returns whether a layer below has the same blob. Only one of them is told why there is no
    /// blob.
    fn is_repeated(&self, index: usize) -> bool;

    /// Returns whether the blob is local, so that nobody who reads it waits for a download.
    fn is_local(&self, index: usize) -> bool;

    /// Ends what readers of blobs wait for.
    fn cancel_downloads(&self);

    /// Opens a blob.
    ///
    /// # Errors
    ///
    /// [`LayerFailure::Source`].
    fn open(&self, index: usize) -> Result<Box<dyn BlobReader>, LayerFailure>;

    /// Finds out how an open blob is compressed, and returns the decoder; `None` if the blob is the
    /// tar.
    ///
    /// # Errors
    ///
    /// [`LayerFailure::Decode`].
    fn decoder(&self, index: usize, blob: Box<dyn BufRead + Send>) -> Result<OpenTar, LayerFailure>;

    /// Returns the check of a tar, before its first byte.
    fn tar_check(&self, index: usize) -> Box<dyn TarCheck + '_>;
}

/// Compression of a layer, and its decoder.
pub(in crate::rootfs) type OpenTar = (Compression, Option<Box<dyn TarDecoder>>);

/// A blob that is hashed as it is read.
pub(in crate::rootfs) trait BlobReader: Read + Send {
    /// Returns how the blob ended, of which no more is read.
    fn end(self: Box<Self>) -> BlobEnd;
}

/// End of a blob.
pub(in crate::rootfs) struct BlobEnd {
    /// An error if it could not be read to its end.
    pub(in crate::rootfs) read: io::Result<()>,
    /// An error if it was read, and is not the one that the manifest names.
    pub(in crate::rootfs) verdict: Result<(), DigestError>,
}

/// A decoder whose memory is granted.
pub(in crate::rootfs) trait TarDecoder: Read + Send {
    /// Grants memory for windows of at most `max` bytes.
    fn grant_window(&mut self, max: u64);

    /// Returns the size of the window that is needed to go on, if that was not granted.
    fn wanted_window(&self) -> Option<u64>;

    /// Returns what the blob says of the tar that was read to its end.
    fn checksum(&self) -> Option<DeclaredChecksum>;
}

/// Check of a tar: what is computed of it, and compared.
pub(in crate::rootfs) trait TarCheck: Send {
    /// Notes, before anything is read, that the blob is compressed with gzip.
    fn begin_gzip(&mut self);

    /// Takes the next bytes.
    fn update(&mut self, bytes: &[u8]);

    /// Compares all bytes with what the blob says of them, if it says anything.
    fn expect(&self, said: Option<DeclaredChecksum>) -> io::Result<()>;

    /// Compares all bytes with the digest in the config.
    fn finish(self: Box<Self>) -> Result<(), DigestError>;
}
