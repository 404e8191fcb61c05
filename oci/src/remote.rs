//! An image in a registry, whose blobs go through the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::blobs::BlobStore;
use super::digest::Digest;
use super::file_range::FileRange;
use super::helper::Helper;
use super::progress::Reporter;
use super::reference::RegistryReference;
use super::registry::{Download, Opened, Registry};
use super::{BlobRef, Bytes, Fetched, ImageError, Layer, SourceOptions};

/// A registry, and the store of what comes from it.
pub(super) struct Remote {
    registry: Registry,
    store: BlobStore,
    max_download: u64,
    /// Downloads that were begun and not yet asked about for the last time.
    downloads: Mutex<BTreeMap<Digest, Arc<Download>>>,
    /// Document of the reference, once the registry was asked: a tag can move.
    root: OnceLock<Fetched>,
}

impl Remote {
    /// Sends nothing yet.
    pub(super) fn open(
        reference: &RegistryReference,
        options: &SourceOptions,
        reporter: &Reporter,
    ) -> Result<Self, ImageError> {
        Ok(Self {
            // First, as it needs no network.
            store: BlobStore::open(&options.state_dir)?,
            registry: Registry::open(reference, options, reporter)?,
            max_download: options.max_download,
            downloads: Mutex::default(),
            root: OnceLock::new(),
        })
    }

    pub(super) fn store(&self) -> &BlobStore {
        &self.store
    }

    /// A helper that may have had credentials.
    pub(super) fn helper(&self) -> Option<&Helper> {
        self.registry.helper()
    }

    /// Whether no download of a blob is under way.
    pub(super) fn is_downloaded(&self, digest: &Digest) -> bool {
        let downloads = self.downloads();
        downloads.get(digest).is_none_or(|download| download.is_done())
    }

    /// Makes whoever waits for bytes give up.
    pub(super) fn cancel_downloads(&self) {
        for download in self.downloads().values() {
            download.cancel();
        }
    }

    /// Returns the document of the reference. The registry is asked only once; of a pinned one, if
    /// the store does not have it.
    pub(super) fn root(&self) -> Result<Fetched, ImageError> {
        if let Some(root) = self.root.get() {
            return Ok(root.clone());
        }
        if let Some(digest) = self.registry.pinned()
            && let Some(json) = self.store.find_document(digest, None)?
        {
            return Ok(Fetched {
                digest: digest.clone(),
                media_type: String::new(),
                json,
                platform: None,
            });
        }
        let fetched = self.registry.root()?;
        if self.store.find_document(&fetched.digest, None)?.is_none() {
            self.store.write_document(&fetched.digest, &fetched.json)?;
        }
        Ok(self.root.get_or_init(|| fetched).clone())
    }

    /// The manifest or index of a digest.
    pub(super) fn manifest(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, ImageError> {
        self.document(digest, size, Registry::manifest)
    }

    /// The config of a digest.
    pub(super) fn config(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, ImageError> {
        self.document(digest, size, Registry::config)
    }

    fn document(
        &self,
        digest: &Digest,
        size: u64,
        fetch: impl FnOnce(&Registry, &Digest, u64) -> Result<Vec<u8>, ImageError>,
    ) -> Result<Vec<u8>, ImageError> {
        if let Some(json) = self.store.find_document(digest, Some(size))? {
            return Ok(json);
        }
        let json = fetch(&self.registry, digest, size)?;
        self.store.write_document(digest, &json)?;
        Ok(json)
    }

    /// Begins to download what the store does not have, and nobody has begun.
    pub(super) fn download(&self, blobs: &[BlobRef], reporter: &Reporter) -> Result<(), ImageError> {
        let mut downloads = self.downloads();
        let mut seen = BTreeSet::new();
        let (mut missing, mut stored) = (Vec::new(), Vec::new());
        for blob in blobs {
            if downloads.contains_key(&blob.digest) || !seen.insert(&blob.digest) {
                continue;
            }
            if self.store.find_sized(&blob.digest, blob.size)?.is_none() {
                missing.push(blob.clone());
            } else {
                stored.push(blob);
            }
        }
        self.refuse_too_much(&missing)?;
        let digests: Vec<_> = missing.iter().map(|blob| blob.digest.clone()).collect();
        let begun = self.registry.download(missing, &self.store, reporter);
        downloads.extend(digests.into_iter().zip(begun));
        drop(downloads);
        for blob in stored {
            if let Some(layer) = reporter.layer(&blob.digest) {
                layer.downloaded(blob.size);
            }
        }
        Ok(())
    }

    /// Believes no manifest that more than the limit is worth a download.
    fn refuse_too_much(&self, missing: &[BlobRef]) -> Result<(), ImageError> {
        let mut total = 0_u64;
        for BlobRef { digest, size } in missing {
            total = total.saturating_add(*size);
            if total > self.max_download {
                return Err(ImageError::DownloadTooLarge {
                    digest: digest.clone(),
                    size: *size,
                    total,
                    max: self.max_download,
                });
            }
        }
        Ok(())
    }

    pub(super) fn blob(&self, layer: &Layer, reporter: &Reporter) -> Result<Bytes, ImageError> {
        let digest = &layer.digest;
        loop {
            let download = self.downloads().get(digest).map(Arc::clone);
            let Some(download) = download else {
                match self.store.find_sized(digest, layer.size)? {
                    Some(file) => return Ok(Bytes::FileRange(FileRange::whole(file, layer.size))),
                    None => self.download(&[layer.blob_ref()], reporter)?,
                }
                continue;
            };
            match download.open(&self.store) {
                Ok(Opened::Growing(growing)) => return Ok(Bytes::Growing(growing)),
                // If it is gone again, somebody has evicted it, and it is downloaded once more.
                Ok(Opened::Stored) => drop(self.downloads().remove(digest)),
                Err(error) => {
                    self.downloads().remove(digest);
                    return Err(error);
                }
            }
        }
    }

    pub(super) fn wait_downloaded(&self, layer: &Layer) -> Result<(), ImageError> {
        let download = self.downloads().remove(&layer.digest);
        download.map_or(Ok(()), |download| download.wait_finished())
    }

    fn downloads(&self) -> MutexGuard<'_, BTreeMap<Digest, Arc<Download>>> {
        self.downloads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
