//! The store as downloads use it: reading and writing documents, and resumable writes of blobs.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use tracing::{debug, info, trace};

use super::incoming::IncomingBlob;
use super::partial::PartialBlob;
use super::{ALGORITHMS, BlobStore, PARTIAL, StoreError, Subdirectory, lock_name, mark_used, partial_name};
use crate::digest::Digest;
use crate::host::Access;
use crate::manifest::MAX_DOCUMENT_LEN;
use layer::cancel::Cancel;

/// Answer to a request to write a blob.
pub(crate) enum WriteTicket {
    /// The caller is the only writer, and starts or resumes the download.
    Granted(Box<PartialBlob>),
    /// The store has the blob.
    Stored,
    /// Another process or thread is writing the blob, or a blob that shares its lock.
    Locked,
}

/// Progress of the downloads that share a lock: the names and lengths of their `.partial` files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LockActivity(Vec<(OsString, u64)>);

impl BlobStore {
    /// Opens a blob of `size` bytes; `None` if the store lacks it, or has a file of another size.
    pub(crate) fn find_sized(&self, digest: &Digest, size: u64) -> Result<Option<File>, StoreError> {
        Ok(match self.open_blob(digest)? {
            Some((file, len)) if len == size => {
                debug!(%digest, size, "the store has the blob");
                mark_used(&file);
                Some(file)
            }
            Some((_, len)) => {
                debug!(%digest, size, len, "the store has a blob of another size");
                None
            }
            None => {
                debug!(%digest, size, "the store lacks the blob");
                None
            }
        })
    }

    /// Reads an index, a manifest or a config; `None` if the store lacks it, or has a document of
    /// another size than `size`. A damaged document is removed.
    pub(crate) fn find_document(&self, digest: &Digest, size: Option<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((file, _)) = self.open_blob(digest)? else {
            debug!(%digest, "the store lacks the document");
            return Ok(None);
        };
        let mut content = Vec::new();
        (&file)
            .take(MAX_DOCUMENT_LEN + 1)
            .read_to_end(&mut content)
            .map_err(|source| StoreError::read(self.path(digest), source))?;
        if digest.verify(&content, None).is_err() {
            self.remove(digest)?;
            info!(%digest, "the document in the store was damaged, and is removed");
            return Ok(None);
        }
        debug!(%digest, "the store has the document");
        mark_used(&file);
        Ok(Some(content).filter(|content| size.is_none_or(|size| content.len() as u64 == size)))
    }

    /// Writes an index, a manifest or a config. The caller has verified its digest.
    pub(crate) fn write_document(&self, digest: &Digest, content: &[u8]) -> Result<(), StoreError> {
        let mut incoming = IncomingBlob::create(self, digest)?;
        incoming.write(content)?;
        incoming.commit()
    }

    /// Requests to write a blob, from the start or from where an earlier download stopped. The
    /// bytes of the earlier download are read and hashed first, which `cancel` can end.
    pub(crate) fn start_write(&self, digest: &Digest, size: u64, cancel: &Cancel) -> Result<WriteTicket, StoreError> {
        let Some(lock) = self.try_lock(digest)? else {
            trace!(%digest, "the lock is taken");
            return Ok(WriteTicket::Locked);
        };
        if self.find_sized(digest, size)?.is_some() {
            return Ok(WriteTicket::Stored);
        }
        let directory = self.ensure_subdirectory(Subdirectory::Blobs(digest.algorithm()))?;
        PartialBlob::open(directory, digest, size, lock, cancel).map(|partial| WriteTicket::Granted(Box::new(partial)))
    }

    /// Opens the beginning of a blob that is being written.
    pub(crate) fn open_partial(&self, digest: &Digest) -> Result<File, StoreError> {
        let name = partial_name(digest);
        let failed = |source| StoreError::read(self.path(digest).with_file_name(&name), source);
        match self.find_subdirectory(Subdirectory::Blobs(digest.algorithm()))? {
            Some(directory) => directory.open_file(&name, Access::Read).map_err(failed),
            None => Err(failed(io::ErrorKind::NotFound.into())),
        }
    }

    /// Returns the progress of the downloads that share a blob's lock. While the result stays
    /// equal, the holder of the lock downloads nothing.
    pub(crate) fn lock_activity(&self, digest: &Digest) -> Result<LockActivity, StoreError> {
        let mut lens = Vec::new();
        for algorithm in ALGORITHMS {
            let Some(directory) = self.find_subdirectory(Subdirectory::Blobs(algorithm))? else {
                continue;
            };
            let failed = |source| StoreError::read(directory.path().to_owned(), source);
            for name in directory.names().map_err(failed)? {
                let is_partial = Path::new(&name)
                    .extension()
                    .is_some_and(|extension| extension == PARTIAL);
                if is_partial && name.as_encoded_bytes().starts_with(lock_name(digest).as_bytes()) {
                    lens.extend(directory.entry(&name).map_err(failed)?.map(|entry| (name, entry.len)));
                }
            }
        }
        lens.sort();
        Ok(LockActivity(lens))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ImageError;
    use crate::digest::{Algorithm, DigestError};
    use layer::cancel::Cancelled;

    const CONTENT: &[u8] = b"abc";

    fn store() -> (tempfile::TempDir, BlobStore, Digest) {
        let state = tempfile::tempdir().unwrap();
        let store = BlobStore::new(state.path());
        (state, store, Digest::of(Algorithm::Sha256, CONTENT))
    }

    fn start_write(store: &BlobStore, digest: &Digest) -> Box<PartialBlob> {
        match store.start_write(digest, 3, &Cancel::new()).unwrap() {
            WriteTicket::Granted(partial) => partial,
            WriteTicket::Stored => panic!("the blob is in the store"),
            WriteTicket::Locked => panic!("the blob is locked"),
        }
    }

    fn blobs(state: &tempfile::TempDir) -> Vec<String> {
        let entries = fs::read_dir(state.path().join("blobs/sha256")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn complete_blob_is_stored() {
        let (state, store, digest) = store();
        assert!(store.find_sized(&digest, 3).unwrap().is_none());
        let mut partial = start_write(&store, &digest);
        partial.write(b"a").unwrap();
        assert!(store.find_sized(&digest, 3).unwrap().is_none());
        partial.write(b"bc").unwrap();
        partial.commit().unwrap();
        assert_eq!(blobs(&state), [digest.hex()]);
        let mut content = Vec::new();
        store
            .find_sized(&digest, 3)
            .unwrap()
            .unwrap()
            .read_to_end(&mut content)
            .unwrap();
        assert_eq!(content, CONTENT);
        assert!(matches!(
            store.start_write(&digest, 3, &Cancel::new()).unwrap(),
            WriteTicket::Stored
        ));

        assert!(
            store.find_sized(&digest, 4).unwrap().is_none(),
            "a file of another size is not the blob"
        );
        store.remove(&digest).unwrap();
        store.remove(&digest).unwrap();
        assert_eq!(blobs(&state), Vec::<String>::new());
    }

    #[test]
    fn wrong_blob_leaves_no_file() {
        let (state, store, digest) = store();
        let mut other = start_write(&store, &digest);
        other.write(b"abd").unwrap();
        assert!(matches!(
            other.commit(),
            Err(ImageError::Content {
                source: DigestError::DigestMismatch { .. },
                ..
            })
        ));
        assert_eq!(blobs(&state), Vec::<String>::new());

        let size = |expected, actual| DigestError::SizeMismatch { expected, actual };
        let mut short = start_write(&store, &digest);
        short.write(b"ab").unwrap();
        assert!(matches!(short.commit(), Err(ImageError::Content { source, .. }) if source == size(3, 2)));
        assert_eq!(blobs(&state), Vec::<String>::new());

        let mut long = start_write(&store, &digest);
        let surplus = long.write(b"abcd");
        assert!(matches!(surplus, Err(ImageError::Content { source, .. }) if source == size(3, 4)));
        long.discard();
        assert_eq!(blobs(&state), Vec::<String>::new());
    }

    #[test]
    fn download_is_resumed() {
        let (_state, store, digest) = store();
        start_write(&store, &digest).write(b"ab").unwrap();
        let mut partial = start_write(&store, &digest);
        assert_eq!(partial.len(), 2);
        partial.write(b"c").unwrap();
        partial.commit().unwrap();
        assert!(store.find_sized(&digest, 3).unwrap().is_some());
    }

    #[test]
    fn damaged_beginning_is_removed() {
        let (state, store, digest) = store();
        start_write(&store, &digest).write(b"ax").unwrap();
        let mut partial = start_write(&store, &digest);
        partial.write(b"c").unwrap();
        assert!(matches!(
            partial.commit(),
            Err(ImageError::Store(StoreError::Damaged { .. }))
        ));
        assert_eq!(blobs(&state), Vec::<String>::new());

        fs::write(
            store.path(&digest).with_file_name(partial_name(&digest)),
            "longer than the blob",
        )
        .unwrap();
        assert_eq!(start_write(&store, &digest).len(), 0);
    }

    #[test]
    fn hashing_an_earlier_download_can_be_cancelled() {
        let (state, store, digest) = store();
        start_write(&store, &digest).write(b"ab").unwrap();
        let cancel = Cancel::new();
        cancel.cancel();
        assert!(
            store
                .start_write(&digest, 3, &cancel)
                .is_err_and(|error| Cancelled::caused(&error))
        );
        assert_eq!(blobs(&state), [format!("{}.partial", digest.hex())]);
        assert_eq!(
            start_write(&store, &digest).len(),
            2,
            "the file is kept and its lock released"
        );
    }

    #[test]
    fn a_blob_has_one_writer() {
        let (_state, store, digest) = store();
        let partial = start_write(&store, &digest);
        assert!(matches!(
            store.start_write(&digest, 3, &Cancel::new()).unwrap(),
            WriteTicket::Locked
        ));
        store.write_document(&digest, CONTENT).unwrap();
        drop(partial);
        assert!(matches!(
            store.start_write(&digest, 3, &Cancel::new()).unwrap(),
            WriteTicket::Stored
        ));
    }

    #[test]
    fn damaged_documents_are_not_returned() {
        let (_state, store, digest) = store();
        assert_eq!(store.find_document(&digest, None).unwrap(), None);
        store.write_document(&digest, CONTENT).unwrap();
        assert_eq!(store.find_document(&digest, None).unwrap().as_deref(), Some(CONTENT));
        assert_eq!(store.find_document(&digest, Some(4)).unwrap(), None);
        fs::write(store.path(&digest), "abd").unwrap();
        assert_eq!(store.find_document(&digest, None).unwrap(), None);
        store.write_document(&digest, CONTENT).unwrap();
        assert_eq!(store.find_document(&digest, None).unwrap().as_deref(), Some(CONTENT));
    }
}
