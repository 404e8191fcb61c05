//! What becomes of a tar besides that it is applied: it is held against what the blob and the image's config say, and kept for later
//! builds.

use std::io;

use layer::{Checksum, SaidChecksum};
use oci::{Check, DigestError, Keep, Layer, Source};

/// Hashes a tar, and keeps it if that is wanted.
pub(super) struct TarCheck<'a> {
    source: &'a Source,
    layer: &'a Layer,
    /// None if the tar is the blob, which is hashed as such.
    check: Option<Check>,
    keep: Option<Keep>,
    is_begun: bool,
    /// What is read so far, of gzip.
    checksum: Option<Checksum>,
}

impl<'a> TarCheck<'a> {
    pub(super) fn new(source: &'a Source, layer: &'a Layer) -> Self {
        let is_blob = layer.digest == layer.diff_id && layer.is_unpacked();
        Self {
            source,
            layer,
            check: (!is_blob).then(|| Check::new(layer.diff_id.clone(), None)),
            keep: None,
            is_begun: false,
            checksum: None,
        }
    }

    /// Says, before anything is read, that the blob is compressed with gzip.
    pub(super) fn begin_gzip(&mut self) {
        self.checksum = (!self.layer.is_unpacked()).then(Checksum::default);
    }

    /// Demands that what was read is what the blob says of it, if it says anything.
    pub(super) fn expect(&self, said: Option<SaidChecksum>) -> io::Result<()> {
        match self.checksum.zip(said) {
            Some((checksum, said)) => Ok(checksum.expect(said)?),
            None => Ok(()),
        }
    }

    /// Begins again, before the first byte.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.source, self.layer);
    }

    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        if !self.is_begun {
            self.is_begun = true;
            self.keep = self.source.keep(self.layer);
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

    /// Demands that the tar, now that all of it was taken, is the one that the config names.
    pub(super) fn finish(self) -> Result<(), DigestError> {
        if let Some(check) = self.check {
            check.finish()?;
        }
        if let Some(keep) = self.keep {
            keep.commit();
        }
        Ok(())
    }
}
