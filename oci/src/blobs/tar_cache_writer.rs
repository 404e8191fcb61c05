//! Writer of cached tars: the decompressed tar of a layer, stored while the layer is applied.

use std::fmt;

use super::BlobStore;
use super::incoming::IncomingBlob;
use crate::digest::Digest;

/// Writer of a layer's tar into the blob store. The tar is stored only by
/// [`TarCacheWriter::commit`].
///
/// A cached tar only saves time in later builds. So no method fails: after an error, such as a full
/// disk, the tar is not stored.
pub struct TarCacheWriter(Option<IncomingBlob>);

impl fmt::Debug for TarCacheWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TarCacheWriter").finish_non_exhaustive()
    }
}

impl TarCacheWriter {
    /// Starts to write a tar, named by its digest (the diff ID). Returns `None` if the store has
    /// it, another process is writing it, or it cannot be written.
    pub(crate) fn start(store: &BlobStore, digest: &Digest) -> Option<Self> {
        if store.has_entry(digest) || IncomingBlob::is_being_written(store, digest) {
            return None;
        }
        IncomingBlob::create(store, digest)
            .ok()
            .map(|incoming| Self(Some(incoming)))
    }

    /// Appends bytes to the tar.
    pub fn write(&mut self, bytes: &[u8]) {
        // An incomplete file is useless, so a failed write drops it.
        self.0.take_if(|incoming| incoming.write(bytes).is_err());
    }

    /// Stores the tar under its digest. The caller has written all of it, and has verified its
    /// digest.
    pub fn commit(self) {
        if let Some(incoming) = self.0 {
            let _ = incoming.commit();
        }
    }
}
