//! The check of a layer's tar: compares it with what the blob and the image's config say, and keeps
//! it for later builds.

use std::io;

use super::stages::TarCheck;
use layer::{Checksum, DeclaredChecksum};
use oci::{DigestError, DigestVerifier, Layer, Source, TarCacheWriter};

/// Hashes a tar, and keeps it if the source does.
pub(super) struct DiffIdCheck<'a> {
    source: &'a Source,
    layer: &'a Layer,
    /// `None` if the tar is the blob, which is hashed as such.
    check: Option<DigestVerifier>,
    keep: Option<TarCacheWriter>,
    begun: bool,
    /// CRC-32 of the tar so far, if the blob is compressed with gzip.
    checksum: Option<Checksum>,
}

impl<'a> DiffIdCheck<'a> {
    pub(super) fn new(source: &'a Source, layer: &'a Layer) -> Self {
        let is_blob = layer.digest == layer.diff_id && layer.is_cached_tar();
        Self {
            source,
            layer,
            check: (!is_blob).then(|| DigestVerifier::new(layer.diff_id.clone(), None)),
            keep: None,
            begun: false,
            checksum: None,
        }
    }
}

impl TarCheck for DiffIdCheck<'_> {
    fn begin_gzip(&mut self) {
        self.checksum = (!self.layer.is_cached_tar()).then(Checksum::default);
    }

    fn update(&mut self, bytes: &[u8]) {
        if !self.begun {
            self.begun = true;
            self.keep = self.source.cache_tar(self.layer);
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.update(bytes);
        }
        if let Some(check) = &mut self.check {
            check.update(bytes).expect("a tar has any size");
        }
        if let Some(keep) = &mut self.keep {
            keep.write(bytes);
        }
    }

    fn expect(&self, said: Option<DeclaredChecksum>) -> io::Result<()> {
        match self.checksum.zip(said) {
            Some((checksum, said)) => Ok(checksum.verify(said)?),
            None => Ok(()),
        }
    }

    fn finish(self: Box<Self>) -> Result<(), DigestError> {
        if let Some(check) = self.check {
            check.finish()?;
        }
        if let Some(keep) = self.keep {
            keep.commit();
        }
        Ok(())
    }
}
