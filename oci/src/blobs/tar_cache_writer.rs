//! A blob that the store gets besides what it was asked for: the tar of a layer, while it is applied.

use std::fmt;

use super::BlobStore;
use super::incoming::IncomingBlob;
use crate::digest::Digest;

/// A tar on its way into the store. It stays only if [`TarCacheWriter::commit`] is called.
///
/// It is for the convenience of later builds: whatever goes wrong with it, a full disk for example, only means that there is none.
pub struct TarCacheWriter(Option<IncomingBlob>);

impl fmt::Debug for TarCacheWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TarCacheWriter").finish_non_exhaustive()
    }
}

impl TarCacheWriter {
    /// Begins to keep a blob, unless the store has it or somebody else writes it.
    pub(crate) fn start(store: &BlobStore, digest: &Digest) -> Option<Self> {
        if store.has_entry(digest) || IncomingBlob::is_being_written(store, digest) {
            return None;
        }
        IncomingBlob::create(store, digest)
            .ok()
            .map(|incoming| Self(Some(incoming)))
    }

    /// Takes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        // What did not take them all is of no use, and takes room.
        self.0.take_if(|incoming| incoming.write(bytes).is_err());
    }

    /// Gives it its name: all of it was written, and has the digest.
    pub fn commit(self) {
        if let Some(incoming) = self.0 {
            let _ = incoming.commit();
        }
    }
}
