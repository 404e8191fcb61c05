//! A reader of a layer's blob, which may still be growing.

use std::fmt;
use std::io::{self, BufReader, Read};

use super::file_range::FileRange;
use super::progress::LayerReporter;
#[cfg(feature = "registry")]
use super::registry::TailReader;
use layer::Decoder;

/// A reader of a layer's blob, as the source has it, compressed or not. Reports what is read.
#[derive(Debug)]
pub struct Blob {
    bytes: BlobBytes,
    progress: Option<LayerReporter>,
}

/// The place that the bytes of a blob come from.
pub(super) enum BlobBytes {
    /// A file, or a part of one.
    FileRange(FileRange),
    /// A download.
    #[cfg(feature = "registry")]
    Growing(TailReader),
    /// A layer that an archive holds compressed, although its manifest lists the uncompressed tar:
    /// the compressed bytes, and a decoder of them. Reads return decompressed bytes.
    Decompressed(FileRange, Box<Decoder<BufReader<FileRange>>>),
    /// The compressed bytes of such a layer. Reads return them as they are.
    Stored(FileRange),
}

impl Blob {
    /// Creates a blob that reports its reads to `progress`, if any.
    pub(super) fn new(bytes: BlobBytes, progress: Option<LayerReporter>) -> Self {
        if let Some(progress) = &progress {
            progress.restart();
        }
        Self { bytes, progress }
    }

    /// Creates a blob of the first `size` bytes of a file.
    #[must_use]
    pub fn of_file(file: std::fs::File, size: u64) -> Self {
        Self::new(BlobBytes::FileRange(FileRange::prefix(file, size)), None)
    }

    /// Returns a reader of the bytes as they are stored. Some archives store a layer compressed
    /// although the manifest lists the uncompressed tar; the manifest's digest is then that of the
    /// tar, not of these bytes.
    #[must_use]
    pub fn into_stored(self) -> Self {
        let bytes = match self.bytes {
            BlobBytes::Decompressed(range, _) => BlobBytes::Stored(range),
            bytes => bytes,
        };
        Self { bytes, ..self }
    }

    /// Returns whether the digest is verified elsewhere, so that the reader of the blob need not
    /// verify it. A download verifies its own bytes, and
    /// [`Source::wait_downloaded`](super::Source::wait_downloaded) returns the result. For a layer
    /// of [`Blob::into_stored`] that is stored compressed, the manifest's digest is that of the
    /// tar.
    #[must_use]
    pub fn is_verified_elsewhere(&self) -> bool {
        !matches!(self.bytes, BlobBytes::FileRange(_) | BlobBytes::Decompressed(..))
    }
}

impl fmt::Debug for BlobBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileRange(range) | Self::Stored(range) => range.fmt(f),
            #[cfg(feature = "registry")]
            Self::Growing(growing) => growing.fmt(f),
            Self::Decompressed(..) => f.write_str("Decompressed"),
        }
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.bytes {
            BlobBytes::FileRange(range) | BlobBytes::Stored(range) => range.read(buffer),
            #[cfg(feature = "registry")]
            BlobBytes::Growing(growing) => growing.read(buffer),
            BlobBytes::Decompressed(_, decoder) => decoder.read(buffer),
        }?;
        if let Some(progress) = &self.progress {
            progress.add_applied(count);
        }
        Ok(count)
    }
}
