//! The layers of an image from a source, with the blobs, decoders and checks of a build.

use std::collections::HashSet;
use std::io::{self, BufRead, Read};

use super::diff_id::DiffIdCheck;
use super::stages::{BlobEnd, BlobReader, LayerSource, OpenTar, TarCheck, TarDecoder};
use crate::error::LayerFailure;
use layer::cancel::{Cancel, Cancellable, Cancelled};
use layer::{Compression, DeclaredChecksum, Decoder};
use oci::{Blob, DigestVerifier, Layer, Source};

/// The layers of an image, as its source reads them.
pub(in crate::rootfs) struct ImageLayers<'a> {
    pub(in crate::rootfs) source: &'a Source,
    pub(in crate::rootfs) layers: &'a [Layer],
    cancel: &'a Cancel,
    /// For each layer, whether a lower one has the same digest.
    repeated: Vec<bool>,
}

impl<'a> ImageLayers<'a> {
    pub(in crate::rootfs) fn new(source: &'a Source, layers: &'a [Layer], cancel: &'a Cancel) -> Self {
        let mut seen = HashSet::new();
        Self {
            source,
            layers,
            cancel,
            repeated: layers.iter().map(|layer| !seen.insert(&layer.digest)).collect(),
        }
    }
}

impl LayerSource for ImageLayers<'_> {
    fn count(&self) -> usize {
        self.layers.len()
    }

    fn is_repeated(&self, index: usize) -> bool {
        self.repeated[index]
    }

    fn is_local(&self, index: usize) -> bool {
        self.source.is_downloaded(&self.layers[index])
    }

    fn cancel_downloads(&self) {
        self.source.cancel_downloads();
    }

    fn open(&self, index: usize) -> Result<Box<dyn BlobReader>, LayerFailure> {
        let layer = &self.layers[index];
        // If the archive with the blob is compressed too, the decoder undoes both compressions, so
        // that the memory of both is granted.
        let blob = self.source.blob(layer)?.into_stored();
        let verifier = DigestVerifier::new(layer.digest.clone(), Some(layer.size));
        Ok(Box::new(HashedBlob::new(blob, verifier, self.cancel)))
    }

    fn decoder(&self, index: usize, blob: Box<dyn BufRead + Send>) -> Result<OpenTar, LayerFailure> {
        let layer = &self.layers[index];
        if layer.is_cached_tar() {
            let compression = Compression::from_media_type(&layer.media_type).unwrap_or(Compression::None);
            return Ok((compression, None));
        }
        let decoder = layer::decode(blob, &layer.media_type)?;
        let compression = decoder.compression();
        // The check stage computes the checksums of gzip.
        Ok((compression, Some(Box::new(decoder.trusting_checksums()))))
    }

    fn tar_check(&self, index: usize) -> Box<dyn TarCheck + '_> {
        Box::new(DiffIdCheck::new(self.source, &self.layers[index]))
    }
}

impl<R: BufRead + Send> TarDecoder for Decoder<R> {
    fn grant_window(&mut self, max: u64) {
        Decoder::grant_window(self, max);
    }

    fn wanted_window(&self) -> Option<u64> {
        Decoder::wanted_window(self)
    }

    fn checksum(&self) -> Option<DeclaredChecksum> {
        Decoder::declared_checksum(self)
    }
}

/// A blob, with its hash so far.
///
/// A blob that is read while it is downloaded is not hashed here: its download computes and
/// verifies the hash.
struct HashedBlob {
    blob: Cancellable<Blob>,
    verifier: Option<DigestVerifier>,
    /// The error that ended reading, if one occurred.
    failure: Option<io::Error>,
}

impl HashedBlob {
    fn new(blob: Blob, verifier: DigestVerifier, cancel: &Cancel) -> Self {
        Self {
            verifier: (!blob.is_verified_elsewhere()).then_some(verifier),
            blob: Cancellable::new(blob, cancel),
            failure: None,
        }
    }
}

impl Read for HashedBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = match self.blob.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                // Two errors: one for the decoder, and one for the end of the blob.
                self.failure = Some(if Cancelled::caused(&error) {
                    Cancelled.into()
                } else {
                    io::Error::new(error.kind(), error.to_string())
                });
                return Err(error);
            }
            result => result?,
        };
        if let Some(verifier) = &mut self.verifier {
            let checked = verifier.update(&buffer[..len]);
            checked.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Ok(len)
    }
}

impl BlobReader for HashedBlob {
    fn finish(self: Box<Self>) -> BlobEnd {
        BlobEnd {
            read: self.failure.map_or(Ok(()), Err),
            verdict: self.verifier.map_or(Ok(()), DigestVerifier::finish),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use oci::{Algorithm, Digest};

    /// Reads a blob of ten zero bytes to its end.
    fn read(file: File, cancelled: bool) -> (io::Result<usize>, BlobEnd) {
        let verifier = DigestVerifier::new(Digest::of(Algorithm::Sha256, &[0; 10]), Some(10));
        let cancel = Cancel::new();
        if cancelled {
            cancel.cancel();
        }
        let mut blob = Box::new(HashedBlob::new(Blob::of_file(file, 10), verifier, &cancel));
        let read = blob.read_to_end(&mut Vec::new());
        (read, blob.finish())
    }

    #[test]
    fn unreadable_blob_is_not_reported_as_damaged() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(10).unwrap();
        let (read_result, end) = read(file.reopen().unwrap(), false);
        assert_eq!(read_result.unwrap(), 10);
        assert!(end.read.is_ok() && end.verdict.is_ok());

        let unreadable = File::options().write(true).open(file.path()).unwrap();
        for (file, cancelled) in [(unreadable, false), (file.reopen().unwrap(), true)] {
            let (read_result, end) = read(file, cancelled);
            assert_eq!(end.read.unwrap_err().to_string(), read_result.unwrap_err().to_string());
        }

        file.as_file().set_len(9).unwrap();
        let (_, end) = read(file.reopen().unwrap(), false);
        assert!(end.read.is_ok() && end.verdict.is_err());
    }
}
