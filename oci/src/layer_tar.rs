//! Reads the tar of a layer, and verifies its digests on the way.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use super::blob::Blob;
use super::digest::VerifyingReader;
use super::error::ImageError;
use super::{Layer, Source};
use layer::{Compression, DecodeError, Decoder, decode};

/// A reader of a layer's tar: decompresses the blob, and computes the digests of both.
///
/// Bytes are returned before they are verified: they are trustworthy only once [`LayerTar::finish`]
/// has returned `Ok`.
pub struct LayerTar<'a> {
    source: &'a Source,
    layer: Layer,
    compression: Compression,
    tar: BufReader<VerifyingReader<Decoder<BufReader<VerifyingReader<Blob>>>>>,
}

impl fmt::Debug for LayerTar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("LayerTar");
        shown.field("layer", &self.layer).finish_non_exhaustive()
    }
}

impl Source {
    /// Opens the tar of a layer. A blob that is being downloaded is read while it grows.
    ///
    /// # Errors
    ///
    /// Those of [`Source::blob`], and [`ImageError::Decode`].
    pub fn tar(&self, layer: &Layer) -> Result<LayerTar<'_>, ImageError> {
        let blob = VerifyingReader::new(self.blob(layer)?, layer.digest.clone(), Some(layer.size));
        let decoder = decode(BufReader::new(blob), &layer.media_type).map_err(|source| failed(layer, source))?;
        Ok(LayerTar {
            source: self,
            layer: layer.clone(),
            compression: decoder.compression(),
            tar: BufReader::new(VerifyingReader::new(decoder, layer.diff_id.clone(), None)),
        })
    }
}

impl LayerTar<'_> {
    /// Returns the compression of the blob.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Reads the rest, and checks that the tar has the diff ID of the config and the blob the
    /// digest and size of the manifest.
    ///
    /// # Errors
    ///
    /// [`ImageError::Decode`] when the rest cannot be read, [`ImageError::Content`] when a digest
    /// or the size of the blob does not match, and those of [`Source::wait_downloaded`].
    pub fn finish(mut self) -> Result<(), ImageError> {
        let layer = &self.layer;
        let unreadable = |error| failed(layer, DecodeError::Read(error));
        io::copy(&mut self.tar, &mut io::sink()).map_err(unreadable)?;
        let decoder = self.tar.into_inner().finish();
        let decoder = decoder.map_err(|error| ImageError::content(&layer.diff_id, error))?;
        let mut blob = decoder.into_inner().into_inner();
        blob.drain().map_err(unreadable)?;
        let blob = blob.finish();
        blob.map_err(|error| ImageError::content(&layer.digest, error))?;
        self.source.wait_downloaded(layer)
    }
}

fn failed(layer: &Layer, source: DecodeError) -> ImageError {
    ImageError::Decode {
        digest: layer.digest.clone(),
        source,
    }
}

impl Read for LayerTar<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tar.read(buffer)
    }
}

impl BufRead for LayerTar<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.tar.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        self.tar.consume(len);
    }
}
