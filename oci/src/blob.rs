//! The bytes of a layer at its source, read while they come.

use std::fmt;
use std::io::{self, BufReader, Read};

use super::file_range::FileRange;
use super::progress::LayerReporter;
#[cfg(feature = "registry")]
use super::registry::TailReader;
use layer::Decoder;

/// The bytes of a layer as they are at the source, compressed or not.
#[derive(Debug)]
pub struct Blob {
    bytes: Bytes,
    progress: Option<LayerReporter>,
}

/// Where they come from.
pub(super) enum Bytes {
    FileRange(FileRange),
    #[cfg(feature = "registry")]
    Growing(TailReader),
    /// Of an archive that holds a layer in another form than its manifest says: what it holds, and
    /// that decompressed.
    Decoded(FileRange, Box<Decoder<BufReader<FileRange>>>),
    /// Of an archive as it holds them.
    Packed(FileRange),
}

impl Blob {
    /// Creates a blob that reports what is read of it, if there is a reporter.
    pub(super) fn new(bytes: Bytes, progress: Option<LayerReporter>) -> Self {
        if let Some(progress) = &progress {
            progress.restart();
        }
        Self { bytes, progress }
    }

    /// Takes the first `size` bytes of a file for a blob.
    #[must_use]
    pub fn of_file(file: std::fs::File, size: u64) -> Self {
        Self::new(Bytes::FileRange(FileRange::whole(file, size)), None)
    }

    /// The blob as it is stored, which for some archives is compressed where the manifest says
    /// otherwise. The digest that the manifest names is then that of the tar in it.
    #[must_use]
    pub fn packed(self) -> Self {
        let bytes = match self.bytes {
            Bytes::Decoded(section, _) => Bytes::Packed(section),
            bytes => bytes,
        };
        Self { bytes, ..self }
    }

    /// Returns whether others hash its bytes: the download that
    /// [`Source::wait_downloaded`](super::Source::wait_downloaded) asks, or the decoder.
    #[must_use]
    pub fn is_hashed_elsewhere(&self) -> bool {
        !matches!(self.bytes, Bytes::FileRange(_) | Bytes::Decoded(..))
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileRange(section) | Self::Packed(section) => section.fmt(f),
            #[cfg(feature = "registry")]
            Self::Growing(growing) => growing.fmt(f),
            Self::Decoded(..) => f.write_str("Decoded"),
        }
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.bytes {
            Bytes::FileRange(section) | Bytes::Packed(section) => section.read(buffer),
            #[cfg(feature = "registry")]
            Bytes::Growing(growing) => growing.read(buffer),
            Bytes::Decoded(_, decoder) => decoder.read(buffer),
        }?;
        if let Some(progress) = &self.progress {
            progress.applied(count);
        }
        Ok(count)
    }
}
