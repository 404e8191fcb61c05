//! The check stage: verifies the tar of a layer, and caches it for later builds.
//!
//! *Checksums of gzip.* The decoder is the stage that all others wait for, so it does not compute
//! the CRC-32 of gzip's members. It parses the members itself and uses a library only to inflate
//! them, and combines the CRC-32 that each member declares to one of the whole tar. This stage
//! computes the CRC-32 of the tar and compares the two.
//!
//! *Cached tars.* The cache for later builds has tars, and not the content of finished images. A
//! tar is named by its digest, so the rules for blobs in the state directory apply to it, and it is
//! read as a layer without compression, which the diff ID alone verifies. Finished content would
//! save little more, and would depend on every option that changes where content lies. The cache is
//! off by default, because it doubles what a first build writes.

use std::io;

use super::stages::TarCheck;
use layer::{Checksum, DeclaredChecksum};
use oci::{DigestError, DigestVerifier, Layer, Source, TarCacheWriter};

/// Hashes the tar of a layer, and writes it to the cache if the source has one.
pub(super) struct DiffIdCheck<'a> {
    source: &'a Source,
    layer: &'a Layer,
    /// Verifies the diff ID. `None` if the tar is the blob, whose digest the fetch stage verifies.
    verifier: Option<DigestVerifier>,
    cache_writer: Option<TarCacheWriter>,
    started: bool,
    /// CRC-32 of the bytes so far, if the blob is compressed with gzip.
    crc32: Option<Checksum>,
}

impl<'a> DiffIdCheck<'a> {
    pub(super) fn new(source: &'a Source, layer: &'a Layer) -> Self {
        let is_blob = layer.digest == layer.diff_id && layer.is_cached_tar();
        Self {
            source,
            layer,
            verifier: (!is_blob).then(|| DigestVerifier::new(layer.diff_id.clone(), None)),
            cache_writer: None,
            started: false,
            crc32: None,
        }
    }
}

impl TarCheck for DiffIdCheck<'_> {
    fn begin_gzip(&mut self) {
        self.crc32 = (!self.layer.is_cached_tar()).then(Checksum::default);
    }

    fn update(&mut self, bytes: &[u8]) {
        if !self.started {
            self.started = true;
            self.cache_writer = self.source.cache_tar(self.layer);
        }
        if let Some(crc32) = &mut self.crc32 {
            crc32.update(bytes);
        }
        if let Some(verifier) = &mut self.verifier {
            verifier.update(bytes).expect("no size is expected of a tar");
        }
        if let Some(writer) = &mut self.cache_writer {
            writer.write(bytes);
        }
    }

    fn check_declared(&self, declared: Option<DeclaredChecksum>) -> io::Result<()> {
        match self.crc32.zip(declared) {
            Some((crc32, declared)) => Ok(crc32.verify(declared)?),
            None => Ok(()),
        }
    }

    fn finish(self: Box<Self>) -> Result<(), DigestError> {
        if let Some(verifier) = self.verifier {
            verifier.finish()?;
        }
        if let Some(writer) = self.cache_writer {
            writer.commit();
        }
        Ok(())
    }
}
