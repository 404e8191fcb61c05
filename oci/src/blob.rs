//! The bytes of a layer at its source, read while they come.

use std::fmt;
use std::io::{self, BufReader, Read};

use super::file_range::FileRange;
use super::progress::LayerReporter;
#[cfg(feature = "registry")]
use super::registry::Growing;
use layer::Decoder;

/// The bytes of a layer as they are at the source, compressed or not.
#[derive(Debug)]
pub struct Blob {
    bytes: BlobBytes,
    progress: Option<LayerReporter>,
}

/// Where they come from.
pub(super) enum BlobBytes {
    FileRange(FileRange),
    #[cfg(feature = "registry")]
    Growing(Growing),
    /// Of an archive that holds a layer in another form than its manifest says: what it holds, and
    /// that decompressed.
    Decompressed(FileRange, Box<Decoder<BufReader<FileRange>>>),
    /// Of an archive as it holds them.
    Stored(FileRange),
}

impl Blob {
    /// Creates a blob that reports what is read of it, if there is a reporter.
    pub(super) fn new(bytes: BlobBytes, progress: Option<LayerReporter>) -> Self {
        if let Some(progress) = &progress {
            progress.restart();
        }
        Self { bytes, progress }
    }

    /// Takes the first `size` bytes of a file for a blob.
    #[must_use]
    pub fn of_file(file: std::fs::File, size: u64) -> Self {
        Self::new(BlobBytes::FileRange(FileRange::prefix(file, size)), None)
    }

    /// The blob as it is stored, which for some archives is compressed where the manifest says
    /// otherwise. The digest that the manifest names is then that of the tar in it.
    #[must_use]
    pub fn into_stored(self) -> Self {
        let bytes = match self.bytes {
            BlobBytes::Decompressed(range, _) => BlobBytes::Stored(range),
            bytes => bytes,
        };
        Self { bytes, ..self }
    }

    /// Returns whether others hash its bytes: the download that
    /// [`Source::wait_downloaded`](super::Source::wait_downloaded) asks, or the decoder.
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
