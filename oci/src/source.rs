//! Opens the registry, layout or archive of a reference, and reads documents and layers there.

use std::fmt;
use std::sync::Arc;

use super::blob::{Blob, BlobBytes};
use super::blobs::{BlobStore, TarCacheWriter};
use super::credential_helper::CredentialHelper;
use super::docker_archive::DockerArchive;
use super::error::ImageError;
use super::file_range::FileRange;
use super::image::{BlobRef, CachedTar, Layer};
use super::layout::ImageLayout;
use super::local_image::{LocalImage, ReferenceTarget};
use super::manifest::{Descriptor, RawDocument};
use super::options::SourceOptions;
use super::progress::Reporter;
use super::reference::{Reference, Transport};
use super::remote::RemoteImage;
use super::skopeo_directory::SkopeoDirectory;
use super::spool::Spool;
use super::tarball::Tarball;
use layer::cancel::Cancelled;

/// The opened registry, layout or archive of a reference. Several threads may read blobs at once.
pub struct Source {
    pub(super) reference: Reference,
    origin: Origin,
    /// Store of cached tars, if [`SourceOptions::keep_unpacked`] is set.
    pub(super) tar_store: Option<BlobStore>,
    pub(super) reporter: Reporter,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Source");
        shown.field("reference", &self.reference).finish_non_exhaustive()
    }
}

/// The opened origin of an image: files on this machine, or a registry.
enum Origin {
    Local(Box<dyn LocalImage>),
    Registry(Box<RemoteImage>),
}

impl Source {
    /// Opens the registry, layout or archive that the reference names.
    ///
    /// Reads a compressed archive, a tar of a root file system and standard input to their end.
    /// Sends no request to a registry yet.
    ///
    /// # Errors
    ///
    /// - [`ImageError::Layout`] when the directory is not an image layout;
    /// - [`ImageError::Archive`] and [`ImageError::DockerArchive`] when the archive cannot be read,
    ///   or does not hold the image;
    /// - [`ImageError::File`] when a file cannot be read, or is too large to spool;
    /// - [`ImageError::Document`] when the `oci-layout` or `manifest.json` file or a config is
    ///   invalid;
    /// - [`ImageError::Content`] when a tar of a root file system has another digest;
    /// - [`ImageError::Auth`] when the credentials cannot be read;
    /// - [`ImageError::Registry`] when the settings for registries cannot be used, for example a
    ///   certificate that cannot be read;
    /// - [`ImageError::NoRegistries`] without the feature `registry`;
    /// - [`ImageError::Store`] when another user owns the state directory, or can change it.
    pub fn open(reference: &Reference, options: &SourceOptions) -> Result<Self, ImageError> {
        let tar_store = options
            .keep_unpacked
            .then(|| BlobStore::open(&options.state_dir))
            .transpose()?;
        let spool = Spool::new(&options.state_dir, options.max_download, &options.cancel);
        let reporter = Reporter::new(&options.events);
        let origin = Self::open_origin(reference, options, &spool, &reporter);
        Ok(Self {
            reference: reference.clone(),
            origin: origin.map_err(Cancelled::surface)?,
            tar_store,
            reporter,
        })
    }

    /// Opens the origin of the reference, by its transport.
    fn open_origin(
        reference: &Reference,
        options: &SourceOptions,
        spool: &Spool,
        reporter: &Reporter,
    ) -> Result<Origin, ImageError> {
        Ok(match reference {
            Reference::Layout(reference) => Origin::Local(Box::new(ImageLayout::open(reference, spool)?)),
            Reference::Local(reference) => match reference.transport {
                Transport::DockerArchive => Origin::Local(Box::new(DockerArchive::open(reference, spool)?)),
                Transport::Directory => Origin::Local(Box::new(SkopeoDirectory::new(reference))),
                Transport::Tarball => Origin::Local(Box::new(Tarball::open(reference, spool)?)),
            },
            Reference::Registry(reference) => {
                Origin::Registry(Box::new(RemoteImage::open(reference, options, reporter)?))
            }
        })
    }

    /// Returns the credential helper that a credentials file names for this registry. It was not
    /// executed, so credentials that it holds were not used.
    #[must_use]
    pub fn skipped_credential_helper(&self) -> Option<&CredentialHelper> {
        match &self.origin {
            Origin::Local(_) => None,
            Origin::Registry(remote) => remote.credential_helper(),
        }
    }

    /// Returns whether the image is in files on this machine. Such a source may have come through a
    /// pipe, and then cannot be read a second time.
    #[must_use]
    pub fn is_local(&self) -> bool {
        !matches!(self.origin, Origin::Registry(_))
    }

    /// Returns the layers, with those in the tar cache replaced by their cached tars.
    fn with_cached_tars(&self, layers: &[Layer]) -> Vec<Layer> {
        let cached = |layer: &Layer| {
            let (file, size) = self.tar_store.as_ref()?.find(&layer.diff_id)?;
            tracing::debug!(layer = %layer.digest, tar = %layer.diff_id, size, "reads the cached tar");
            Some(Layer {
                digest: layer.diff_id.clone(),
                size,
                cached_tar: Some(CachedTar(Arc::new(file))),
                ..layer.clone()
            })
        };
        let layers = layers.iter();
        layers
            .map(|layer| cached(layer).unwrap_or_else(|| layer.clone()))
            .collect()
    }

    /// Starts to cache the tar of a layer. Returns `None` if tars are not cached, the layer is not
    /// compressed, or the cache already has the tar or another writer is at work on it.
    #[must_use]
    pub fn cache_tar(&self, layer: &Layer) -> Option<TarCacheWriter> {
        let store = self.tar_store.as_ref().filter(|_| layer.digest != layer.diff_id)?;
        let writer = TarCacheWriter::start(store, &layer.diff_id)?;
        tracing::debug!(layer = %layer.digest, tar = %layer.diff_id, "caches the tar");
        Some(writer)
    }

    /// Starts to download the layers missing from this machine, several at once and in order, for
    /// an image that was resolved and not pulled. From then on, progress is reported.
    ///
    /// Returns the layers as they should be read: from the tar cache where possible.
    ///
    /// # Errors
    ///
    /// [`ImageError::DownloadTooLarge`] when the download exceeds [`SourceOptions::max_download`];
    /// [`ImageError::Store`] when the state directory cannot be read.
    pub fn prefetch(&self, layers: &[Layer]) -> Result<Vec<Layer>, ImageError> {
        let layers = self.with_cached_tars(layers);
        let blobs: Vec<_> = layers.iter().map(Layer::blob_ref).collect();
        self.reporter.set_layers(&blobs);
        let listed: Vec<_> = layers
            .iter()
            .filter(|layer| !layer.is_cached_tar())
            .map(Layer::blob_ref)
            .collect();
        self.download(&listed)?;
        Ok(layers)
    }

    /// Starts to download blobs that are not on this machine.
    pub(super) fn download(&self, blobs: &[BlobRef]) -> Result<(), ImageError> {
        match &self.origin {
            Origin::Local(_) => {
                self.reporter.all_downloaded();
                Ok(())
            }
            Origin::Registry(remote) => remote.download(blobs, &self.reporter),
        }
    }

    /// Opens the blob of a layer. A blob that is being downloaded is read from the start while it
    /// grows.
    ///
    /// The bytes are not verified yet. Read them through
    /// [`VerifyingReader`](super::VerifyingReader), and call [`Source::evict`] if the digest turns
    /// out wrong. [`Source::wait_downloaded`] returns why a read of a download failed, and confirms
    /// that the download is complete.
    ///
    /// # Errors
    ///
    /// [`ImageError::Content`] when a download or a file of a layout has the wrong size; otherwise
    /// the error of the source or of the state directory before the first bytes arrive.
    pub fn blob(&self, layer: &Layer) -> Result<Blob, ImageError> {
        let bytes = match (&layer.cached_tar, &self.origin) {
            (Some(CachedTar(file)), _) => BlobBytes::FileRange(FileRange::new(Arc::clone(file), 0, layer.size)),
            (None, Origin::Local(local)) => local.blob(&layer.digest, layer.size)?,
            (None, Origin::Registry(remote)) => remote.blob(layer, &self.reporter)?,
        };
        let progress = self.reporter.next_layer(&layer.digest);
        Ok(Blob::new(bytes, progress))
    }

    /// Waits until the download of a blob, if there was one, has ended and the state directory has
    /// the blob.
    ///
    /// # Errors
    ///
    /// The error of the source or of the state directory; [`ImageError::Content`] when the blob
    /// does not match the manifest.
    pub fn wait_downloaded(&self, layer: &Layer) -> Result<(), ImageError> {
        if let Origin::Registry(remote) = &self.origin {
            remote.wait_downloaded(layer)?;
        }
        if let Some(layer) = self.reporter.next_layer(&layer.digest) {
            layer.mark_done();
        }
        Ok(())
    }

    /// Removes the copy of a blob from the state directory, so that it is fetched or unpacked
    /// again. Returns whether the source can have such a copy.
    ///
    /// Does not touch files that the reference names by their path.
    ///
    /// # Errors
    ///
    /// [`ImageError::Store`] when the file cannot be removed.
    pub fn evict(&self, layer: &Layer) -> Result<bool, ImageError> {
        let tar_store = self.tar_store.as_ref().filter(|_| layer.is_cached_tar());
        let store = match &self.origin {
            Origin::Local(_) => tar_store,
            Origin::Registry(remote) => Some(remote.store()),
        };
        if let Some(store) = store {
            store.remove(&layer.digest)?;
            tracing::info!(digest = %layer.digest, "removed an unusable blob from the store");
        }
        Ok(store.is_some())
    }

    /// Returns whether no download of the layer's blob is in progress. After [`Source::prefetch`]
    /// or [`Source::pull`], its reader then never waits for the network.
    #[must_use]
    pub fn is_downloaded(&self, layer: &Layer) -> bool {
        match &self.origin {
            Origin::Local(_) => true,
            Origin::Registry(remote) => remote.is_downloaded(&layer.digest),
        }
    }

    /// Cancels the downloads: readers that wait for their bytes fail.
    pub fn cancel_downloads(&self) {
        if let Origin::Registry(remote) = &self.origin {
            remote.cancel_downloads();
        }
    }

    /// Returns the document or documents that the reference names.
    pub(super) fn target(&self) -> Result<ReferenceTarget, ImageError> {
        match &self.origin {
            Origin::Local(local) => local.target(),
            Origin::Registry(remote) => remote.root_document().map(ReferenceTarget::Document),
        }
    }

    /// Reads the index or manifest of a descriptor.
    pub(super) fn manifest(&self, descriptor: &Descriptor) -> Result<RawDocument, ImageError> {
        let Descriptor {
            digest,
            size,
            media_type,
            ..
        } = descriptor;
        descriptor
            .check_len()
            .map_err(|error| ImageError::document(digest, error))?;
        let json = match &self.origin {
            Origin::Local(local) => local.document(digest, Some(*size))?,
            Origin::Registry(remote) => remote.manifest(digest, *size)?,
        };
        Ok(RawDocument {
            digest: digest.clone(),
            media_type: media_type.clone(),
            json,
            platform: None,
        })
    }

    /// Reads the config of a descriptor.
    pub(super) fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let Descriptor { digest, size, .. } = descriptor;
        descriptor
            .check_len()
            .map_err(|error| ImageError::document(digest, error))?;
        match &self.origin {
            Origin::Local(local) => local.document(digest, Some(*size)),
            Origin::Registry(remote) => remote.config(digest, *size),
        }
    }
}
