//! An image in a registry, whose documents and blobs are stored in the state directory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::blob::BlobBytes;
use super::blobs::BlobStore;
use super::credential_helper::CredentialHelper;
use super::digest::Digest;
use super::file_range::FileRange;
use super::progress::Reporter;
use super::reference::RegistryReference;
use super::registry::{Download, Opened, Registry};
use super::{BlobRef, ImageError, Layer, RawDocument, SourceOptions};

/// A repository in a registry, and the store of what was fetched from it.
pub(super) struct RemoteImage {
    registry: Registry,
    store: BlobStore,
    max_download: u64,
    /// Downloads that were started and have not been reported as ended.
    downloads: Mutex<BTreeMap<Digest, Arc<Download>>>,
    /// The document of the reference, once it was fetched. It is not fetched again, because a tag
    /// can move.
    root: OnceLock<RawDocument>,
}

impl RemoteImage {
    /// Opens the store and prepares the connection. Sends no request.
    pub(super) fn open(
        reference: &RegistryReference,
        options: &SourceOptions,
        reporter: &Reporter,
    ) -> Result<Self, ImageError> {
        Ok(Self {
            // First, because it needs no network.
            store: BlobStore::open(&options.state_dir)?,
            registry: Registry::open(reference, options, reporter)?,
            max_download: options.max_download,
            downloads: Mutex::default(),
            root: OnceLock::new(),
        })
    }

    /// Returns the blob store.
    pub(super) fn store(&self) -> &BlobStore {
        &self.store
    }

    /// Returns the credential helper that a credentials file names for this registry.
    pub(super) fn credential_helper(&self) -> Option<&CredentialHelper> {
        self.registry.helper()
    }

    /// Returns whether no download of the blob is in progress.
    pub(super) fn is_downloaded(&self, digest: &Digest) -> bool {
        let downloads = self.downloads();
        downloads.get(digest).is_none_or(|download| download.is_done())
    }

    /// Cancels all downloads: readers that wait for their bytes fail.
    pub(super) fn cancel_downloads(&self) {
        for download in self.downloads().values() {
            download.cancel();
        }
    }

    /// Returns the document of the reference. Asks the registry at most once, and for a pinned
    /// reference only if the store lacks the document.
    pub(super) fn root_document(&self) -> Result<RawDocument, ImageError> {
        if let Some(root) = self.root.get() {
            return Ok(root.clone());
        }
        if let Some(digest) = self.registry.pinned()
            && let Some(json) = self.store.find_document(digest, None)?
        {
            return Ok(RawDocument {
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

    /// Returns the manifest or index with this digest, from the store or the registry.
    pub(super) fn manifest(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, ImageError> {
        self.document(digest, size, Registry::manifest)
    }

    /// Returns the config with this digest, from the store or the registry.
    pub(super) fn config(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, ImageError> {
        self.document(digest, size, Registry::config)
    }

    /// Returns a document from the store, or fetches and stores it.
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

    /// Starts to download the blobs that are neither stored nor being downloaded.
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
        self.check_download_size(&missing)?;
        let digests: Vec<_> = missing.iter().map(|blob| blob.digest.clone()).collect();
        let begun = self.registry.download(missing, &self.store, reporter);
        downloads.extend(digests.into_iter().zip(begun));
        drop(downloads);
        for blob in stored {
            if let Some(layer) = reporter.next_layer(&blob.digest) {
                layer.set_downloaded(blob.size);
            }
        }
        Ok(())
    }

    /// Checks that the blobs to download do not exceed the limit in bytes, by the sizes in the
    /// manifest.
    fn check_download_size(&self, missing: &[BlobRef]) -> Result<(), ImageError> {
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

    /// Opens a blob in the store, or a download of it, which is started if necessary.
    pub(super) fn blob(&self, layer: &Layer, reporter: &Reporter) -> Result<BlobBytes, ImageError> {
        let digest = &layer.digest;
        loop {
            let download = self.downloads().get(digest).map(Arc::clone);
            let Some(download) = download else {
                match self.store.find_sized(digest, layer.size)? {
                    Some(file) => return Ok(BlobBytes::FileRange(FileRange::prefix(file, layer.size))),
                    None => self.download(&[layer.blob_ref()], reporter)?,
                }
                continue;
            };
            match download.open(&self.store) {
                Ok(Opened::Growing(growing)) => return Ok(BlobBytes::Growing(growing)),
                // If the store lacks it again, it was evicted, and is downloaded once more.
                Ok(Opened::Stored) => drop(self.downloads().remove(digest)),
                Err(error) => {
                    self.downloads().remove(digest);
                    return Err(error);
                }
            }
        }
    }

    /// Waits for the end of a download, and returns its error. A cancelled download counts as no
    /// error.
    pub(super) fn wait_downloaded(&self, layer: &Layer) -> Result<(), ImageError> {
        let download = self.downloads().remove(&layer.digest);
        download.map_or(Ok(()), |download| download.wait_finished())
    }

    fn downloads(&self) -> MutexGuard<'_, BTreeMap<Digest, Arc<Download>>> {
        self.downloads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
