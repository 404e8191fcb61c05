//! Opens the place that a reference names, resolves images there and reads their layers.

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

/// How to open a source.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SourceOptions {
    /// The directory for what is downloaded. It need not exist yet.
    pub state_dir: PathBuf,
    /// How to speak to registries.
    #[cfg(feature = "registry")]
    pub registry: RegistryOptions,
    /// Whether the tars of layers are kept in the state directory, and taken from there.
    pub keep_unpacked: bool,
    /// Most bytes that the layers to download may have together, and that an archive may have which must be decompressed, or
    /// comes through a pipe.
    pub max_download: u64,
    /// Reports progress and waits.
    pub events: Events<Event>,
    /// Ends reading and waiting with [`ImageError::Cancelled`] when it is set.
    pub cancel: Cancel,
}

impl SourceOptions {
    /// Options with a state directory, which only registries, archives to decompress and kept tars
    /// use. Nothing is kept, no credentials are known, and downloads are limited to what layers
    /// within the default [`Limits`] can have.
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

/// Where the image of a reference comes from. Several threads may ask for blobs at once.
pub struct Source {
    pub(super) reference: Reference,
    origin: Origin,
    /// Where tars of layers are kept, if they shall be.
    tar_store: Option<BlobStore>,
    reporter: Reporter,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Source");
        shown.field("reference", &self.reference).finish_non_exhaustive()
    }
}

enum Origin {
    Local(Box<dyn LocalImage>),
    Registry(Box<RemoteImage>),
}

/// Files on this machine that hold an image.
pub(super) trait LocalImage: Send + Sync {
    /// Returns the document or documents that the reference names.
    fn target(&self) -> Result<ReferenceTarget, ImageError>;

    /// An index, a manifest or a config.
    fn document(&self, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>, ImageError>;

    /// The blob of a layer, which must have the right size.
    fn blob(&self, digest: &Digest, size: u64) -> Result<BlobBytes, ImageError>;
}

impl Source {
    /// Opens the place that the reference names. Reads all of what is compressed, or comes through a pipe, and sends nothing to
    /// a registry yet.
    ///
    /// # Errors
    ///
    /// [`ImageError::Layout`], [`ImageError::Archive`] and [`ImageError::DockerArchive`] when there
    /// is no such image, [`ImageError::Auth`] when the credentials cannot be read,
    /// [`ImageError::Registry`] when this machine lacks what it takes to speak to one,
    /// [`ImageError::NoRegistries`] without the feature `registry`. [`ImageError::Store`] when
    /// another user made the state directory, or can change it.
    pub fn open(reference: &Reference, options: &SourceOptions) -> Result<Self, ImageError> {
        let tar_store = options
            .keep_unpacked
            .then(|| BlobStore::open(&options.state_dir))
            .transpose()?;
        let spool = Spool::new(&options.state_dir, options.max_download, &options.cancel);
        let reporter = Reporter::new(&options.events);
        let origin = Self::find(reference, options, &spool, &reporter);
        Ok(Self {
            reference: reference.clone(),
            origin: origin.map_err(Cancelled::surface)?,
            tar_store,
            reporter,
        })
    }

    fn find(
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

    /// A helper that a credentials file leaves the registry's credentials to, and that was not asked.
    #[must_use]
    pub fn skipped_credential_helper(&self) -> Option<&CredentialHelper> {
        match &self.origin {
            Origin::Local(_) => None,
            Origin::Registry(remote) => remote.credential_helper(),
        }
    }

    /// Whether all is on this machine: it may have come through a pipe, and would not come again.
    #[must_use]
    pub fn is_local(&self) -> bool {
        !matches!(self.origin, Origin::Registry(_))
    }

    /// Lists the images that the reference names, in the order of its index. Takes one request, and
    /// one more for the config of an image without an index.
    ///
    /// Lists no attestations and artifacts, and does not look into indexes in the index. A registry
    /// is asked once for what the reference names: [`Source::resolve_listed`] and
    /// [`Source::resolve`] find an image of the list even if the tag has moved since.
    ///
    /// # Errors
    ///
    /// [`ImageError::Document`] and [`ImageError::Content`] when a document cannot be used or
    /// trusted; otherwise what went wrong at the source.
    pub fn platforms(&self) -> Result<Vec<ListedImage>, ImageError> {
        resolve::list_images(self).map_err(Cancelled::surface)
    }

    /// Finds the image for a platform, through indexes if need be, and reads its manifest and config.
    ///
    /// # Errors
    ///
    /// [`ImageError::NoPlatform`] when there is no image for the platform; [`ImageError::Document`] and
    /// [`ImageError::Content`] when a document cannot be used or trusted; otherwise what went wrong at the source.
    pub fn resolve(&self, platform: &Platform) -> Result<Image, ImageError> {
        self.search(platform, &mut |_| Ok(()))
    }

    /// Reads the manifest and config of an image that [`Source::platforms`] listed. The tag is not
    /// asked for again.
    ///
    /// [`Image::platform`] is the one in the list, or the config's where an index names none. Where
    /// neither names one, it is [`Platform::host`]. [`Source::prefetch`] begins to download the
    /// layers.
    ///
    /// # Errors
    ///
    /// [`ImageError::NotListed`] when the reference does not name that image, for example because
    /// another source listed it; [`ImageError::Document`] with [`ManifestError::IndexInIndex`] when
    /// it is an index in the index; otherwise those of [`Source::resolve`].
    pub fn resolve_listed(&self, image: &ListedImage) -> Result<Image, ImageError> {
        resolve::resolve_listed(self, image).map_err(Cancelled::surface)
    }

    /// As [`Source::resolve`], and begins to download the layers that are not on this machine's
    /// disks, some at once and in this order: while the config is still on its way, if they need
    /// not wait for it. From now on, it is known how far they are.
    ///
    /// Besides the image come its layers as they are best read: those whose tar was kept, from there.
    ///
    /// # Errors
    ///
    /// Those of [`Source::resolve`] and [`Source::prefetch`].
    pub fn pull(&self, platform: &Platform) -> Result<(Image, Vec<Layer>), ImageError> {
        let mut started = false;
        let image = self.search(platform, &mut |blobs| {
            // Only the config says which tars may have been kept.
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

    /// Finds the image for a platform. As soon as it is sure that a manifest is the one, what it says of the layers is announced.
    fn search(&self, platform: &Platform, on_layers: &mut OnLayers<'_>) -> Result<Image, ImageError> {
        resolve::resolve(self, platform, on_layers).map_err(Cancelled::surface)
    }

    /// The layers as they are best read: those whose tar was kept, from there.
    fn with_cached_tars(&self, layers: &[Layer]) -> Vec<Layer> {
        let unpacked = |layer: &Layer| {
            let (file, size) = self.tar_store.as_ref()?.find(&layer.diff_id)?;
            tracing::debug!(layer = %layer.digest, tar = %layer.diff_id, size, "uses the tar that was kept");
            Some(Layer {
                digest: layer.diff_id.clone(),
                size,
                cached_tar: Some(CachedTar(Arc::new(file))),
                ..layer.clone()
            })
        };
        let layers = layers.iter();
        layers
            .map(|layer| unpacked(layer).unwrap_or_else(|| layer.clone()))
            .collect()
    }

    /// Begins to keep the tar of a layer, if that is wanted and nobody has done so.
    #[must_use]
    pub fn cache_tar(&self, layer: &Layer) -> Option<TarCacheWriter> {
        let store = self.tar_store.as_ref().filter(|_| layer.digest != layer.diff_id)?;
        let keep = TarCacheWriter::begin(store, &layer.diff_id)?;
        tracing::debug!(layer = %layer.digest, tar = %layer.diff_id, "keeps the tar");
        Some(keep)
    }

    /// Begins to download, some at once and in this order, what of the layers is not on this machine's disks, of an image that was
    /// resolved and not pulled. From now on, it is known how far they are. Returns them as they are best read.
    ///
    /// # Errors
    ///
    /// [`ImageError::DownloadTooLarge`] when there is more to download than may be; [`ImageError::Store`] when the state directory
    /// cannot be read.
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

    /// Opens the blob of a layer. One that must be downloaded first is read while it grows, from its beginning on.
    ///
    /// Nothing that is read is held against digest and size yet: read it through [`VerifyingReader`], and [`Source::evict`]
    /// it if it turns out wrong. [`Source::wait_downloaded`] says why reading it failed, and that the download is complete.
    ///
    /// # Errors
    ///
    /// [`ImageError::Content`] when the size of a download or of a file in a layout is wrong; otherwise what went wrong
    /// at the source or in the state directory until the first bytes came.
    pub fn blob(&self, layer: &Layer) -> Result<Blob, ImageError> {
        let bytes = match (&layer.cached_tar, &self.origin) {
            (Some(CachedTar(file)), _) => BlobBytes::FileRange(FileRange::new(Arc::clone(file), 0, layer.size)),
            (None, Origin::Local(local)) => local.blob(&layer.digest, layer.size)?,
            (None, Origin::Registry(remote)) => remote.blob(layer, &self.reporter)?,
        };
        let progress = self.reporter.next_layer(&layer.digest);
        Ok(Blob::new(bytes, progress))
    }

    /// Waits until the download of a blob is over, if one was begun: then the state directory has it.
    ///
    /// # Errors
    ///
    /// What went wrong at the source or in the state directory; [`ImageError::Content`] when the blob is not the one
    /// that the manifest names.
    pub fn wait_downloaded(&self, layer: &Layer) -> Result<(), ImageError> {
        if let Origin::Registry(remote) = &self.origin {
            remote.wait_downloaded(layer)?;
        }
        if let Some(layer) = self.reporter.next_layer(&layer.digest) {
            layer.mark_done();
        }
        Ok(())
    }

    /// Removes the copy of a blob that the state directory may hold, so that it will be downloaded again, and says whether there can
    /// have been one.
    ///
    /// Files that are named by their path are not touched.
    ///
    /// # Errors
    ///
    /// [`ImageError::Store`] when the file cannot be removed.
    pub fn evict(&self, layer: &Layer) -> Result<bool, ImageError> {
        let kept_in = self.tar_store.as_ref().filter(|_| layer.is_cached_tar());
        let store = match &self.origin {
            Origin::Local(_) => kept_in,
            Origin::Registry(remote) => Some(remote.store()),
        };
        if let Some(store) = store {
            store.remove(&layer.digest)?;
            tracing::info!(digest = %layer.digest, "removed a blob that cannot be used from the store");
        }
        Ok(store.is_some())
    }

    /// Whether all of the blob of a layer is on this machine, so that whoever reads it waits for no network.
    #[must_use]
    pub fn is_downloaded(&self, layer: &Layer) -> bool {
        match &self.origin {
            Origin::Local(_) => true,
            Origin::Registry(remote) => remote.is_downloaded(&layer.digest),
        }
    }

    /// Makes whoever waits for bytes of a download give up: nobody wants them any more.
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

    /// The index or manifest of a descriptor.
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

    /// The config of a descriptor.
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

/// Documents that a reference names.
pub(super) enum ReferenceTarget {
    /// A manifest or an index.
    Document(RawDocument),
    /// One of several images of the same name, which their platforms tell apart.
    Candidates {
        images: Vec<IndexEntry>,
        /// The error where they do not.
        ambiguous: ImageError,
    },
    /// No document, but the only layer of an image that says nothing of itself.
    Layer(Layer),
}

/// A document whose bytes have been held against its digest.
#[derive(Clone)]
pub(super) struct RawDocument {
    pub(super) digest: Digest,
    /// What its descriptor or the registry calls it; may be empty.
    pub(super) media_type: String,
    pub(super) json: Vec<u8>,
    /// The platform that the place lists it for.
    pub(super) platform: Option<Platform>,
}
