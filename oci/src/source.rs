//! Opens the registry, layout or archive of a reference, resolves images there and reads their
//! layers.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::blob::{Blob, BlobBytes};
use super::blobs::{BlobStore, TarCacheWriter};
use super::credential_helper::CredentialHelper;
use super::digest::Digest;
use super::docker_archive::DockerArchive;
use super::error::ImageError;
use super::file_range::FileRange;
use super::image::{BlobRef, CachedTar, Image, Layer, ListedImage};
use super::layout::ImageLayout;
use super::manifest::{Descriptor, IndexEntry};
use super::platform::Platform;
use super::progress::{Event, Reporter};
use super::reference::{Reference, Transport};
#[cfg(feature = "registry")]
use super::registry::RegistryOptions;
use super::remote::RemoteImage;
use super::resolve::{self, OnLayers};
use super::skopeo_directory::SkopeoDirectory;
use super::spool::Spool;
use super::tarball::Tarball;
use layer::Limits;
use layer::cancel::{Cancel, Cancelled};
use layer::events::Events;

/// Options for [`Source::open`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SourceOptions {
    /// State directory, for downloads and decompressed archives. Created when it is first needed.
    pub state_dir: PathBuf,
    /// Certificates, credentials and connection settings for registries.
    #[cfg(feature = "registry")]
    pub registry: RegistryOptions,
    /// Cache the uncompressed tars of layers in the state directory, and read layers from there.
    pub keep_unpacked: bool,
    /// Limit in bytes on all layers to download, and on an archive that has to be spooled because
    /// it is compressed or comes through a pipe.
    pub max_download: u64,
    /// Listener for progress and waits.
    pub events: Events<Event>,
    /// Ends reads and waits with [`ImageError::Cancelled`] when it is set.
    pub cancel: Cancel,
}

impl SourceOptions {
    /// Returns options with this state directory and defaults for the rest: no tar cache, no
    /// credentials, and a download limit that fits layers within the default [`Limits`].
    ///
    /// Only registries, compressed or piped archives, and the tar cache use the directory.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            #[cfg(feature = "registry")]
            registry: RegistryOptions::default(),
            keep_unpacked: false,
            max_download: Limits::default().max_compressed(),
            events: Events::default(),
            cancel: Cancel::new(),
        }
    }
}

/// The opened registry, layout or archive of a reference. Several threads may read blobs at once.
pub struct Source {
    pub(super) reference: Reference,
    origin: Origin,
    /// Store of cached tars, if [`SourceOptions::keep_unpacked`] is set.
    tar_store: Option<BlobStore>,
    reporter: Reporter,
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

/// Files on this machine that hold images. Implemented once per transport.
pub(super) trait LocalImage: Send + Sync {
    /// Returns the document or documents that the reference names.
    fn target(&self) -> Result<ReferenceTarget, ImageError>;

    /// Returns the index, manifest or config with this digest. `size` is the one in its descriptor,
    /// if known.
    fn document(&self, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>, ImageError>;

    /// Opens the blob of a layer. Fails if its size is not `size`.
    fn blob(&self, digest: &Digest, size: u64) -> Result<BlobBytes, ImageError>;
}

impl Source {
    /// Opens the registry, layout or archive that the reference names.
    ///
    /// Reads a compressed archive, a tar of a root file system and standard input to their end.
    /// Sends no request to a registry yet.
    ///
    /// # Errors
    ///
    /// - [`ImageError::Layout`] when it is not an image layout;
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

    /// Lists the images that the reference names, in the order of its index. Takes one request, and
    /// a second one for the config of an image without an index.
    ///
    /// Omits attestations and artifacts, and does not follow nested indexes. Asks a registry only
    /// once for the reference: [`Source::resolve_listed`] and [`Source::resolve`] find a listed
    /// image even if the tag has moved since.
    ///
    /// # Errors
    ///
    /// [`ImageError::Document`] and [`ImageError::Content`] when a document is invalid or does not
    /// match its digest; otherwise the error of the source.
    pub fn platforms(&self) -> Result<Vec<ListedImage>, ImageError> {
        resolve::list_images(self).map_err(Cancelled::surface)
    }

    /// Finds the image for a platform, following nested indexes, and reads its manifest and config.
    ///
    /// # Errors
    ///
    /// [`ImageError::NoPlatform`] when no image is for the platform; [`ImageError::Document`] and
    /// [`ImageError::Content`] when a document is invalid or does not match its digest; otherwise
    /// the error of the source.
    pub fn resolve(&self, platform: &Platform) -> Result<Image, ImageError> {
        self.search(platform, &mut |_| Ok(()))
    }

    /// Reads the manifest and config of an image that [`Source::platforms`] listed. Does not ask
    /// for the tag again.
    ///
    /// [`Image::platform`] is the one in the list. If the index names no platform, it is the
    /// config's; if that names none either, [`Platform::host`]. Call [`Source::prefetch`] to start
    /// downloading the layers.
    ///
    /// # Errors
    ///
    /// [`ImageError::NotListed`] when the reference does not name that image, for example because
    /// another source listed it; [`ImageError::Document`] with
    /// [`ManifestError::IndexInIndex`](super::ManifestError::IndexInIndex) when it is a nested
    /// index; otherwise those of [`Source::resolve`].
    pub fn resolve_listed(&self, image: &ListedImage) -> Result<Image, ImageError> {
        resolve::resolve_listed(self, image).map_err(Cancelled::surface)
    }

    /// Resolves like [`Source::resolve`], and starts to download the layers missing from this
    /// machine, several at once and in order. The download starts before the config arrives, unless
    /// the config is needed to look for cached tars. From then on, progress is reported.
    ///
    /// Returns the image, and its layers as they should be read: from the tar cache where possible.
    ///
    /// # Errors
    ///
    /// Those of [`Source::resolve`] and [`Source::prefetch`].
    pub fn pull(&self, platform: &Platform) -> Result<(Image, Vec<Layer>), ImageError> {
        let mut started = false;
        let image = self.search(platform, &mut |blobs| {
            // Cached tars are found by diff ID, which only the config holds.
            if self.tar_store.is_some() {
                return Ok(());
            }
            started = true;
            self.reporter.set_layers(blobs);
            self.download(blobs)
        })?;
        let layers = if started {
            image.layers.clone()
        } else {
            self.prefetch(&image.layers)?
        };
        Ok((image, layers))
    }

    /// Finds the image for a platform. Calls `on_layers` with its layers as soon as the manifest is
    /// known to be the right one, before the config is read.
    fn search(&self, platform: &Platform, on_layers: &mut OnLayers<'_>) -> Result<Image, ImageError> {
        resolve::resolve(self, platform, on_layers).map_err(Cancelled::surface)
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
        let writer = TarCacheWriter::begin(store, &layer.diff_id)?;
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

    fn download(&self, blobs: &[BlobRef]) -> Result<(), ImageError> {
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

    /// Removes the copy of a blob from the state directory, so that it is downloaded again. Returns
    /// whether the source can have such a copy.
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

    /// Returns whether the whole blob of a layer is on this machine, so that its reader never waits
    /// for the network.
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

/// The content that a reference names, before a platform is chosen.
pub(super) enum ReferenceTarget {
    /// A manifest or an index.
    Document(RawDocument),
    /// Several images of the same name, for different platforms.
    Candidates {
        images: Vec<IndexEntry>,
        /// The error to return if two of them are equally near to the platform.
        ambiguous: ImageError,
    },
    /// The only layer of an image without a manifest or config.
    Layer(Layer),
}

/// The bytes of an index or manifest, before they are parsed. They match `digest`, except for the
/// manifest that `DockerArchive` makes itself.
#[derive(Clone)]
pub(super) struct RawDocument {
    pub(super) digest: Digest,
    /// Media type in its descriptor or in the registry's response; may be empty.
    pub(super) media_type: String,
    pub(super) json: Vec<u8>,
    /// Platform that the `index.json` of a layout lists it for.
    pub(super) platform: Option<Platform>,
}
