//! Images at their sources: from a reference to a platform's manifest, and from there to the bytes of each layer.
//!
//! ```
//! use oci::{Platform, Reference, Source, SourceOptions};
//!
//! # std::env::set_current_dir("..")?;
//! let reference: Reference = "oci:examples/hello:latest".parse()?;
//! let source = Source::open(&reference, &SourceOptions::new("unused"))?;
//! let listed = source.platforms()?;
//! for image in &listed {
//!     println!("{:?}: {}, {} bytes", image.platform, image.digest, image.size);
//! }
//! let first = source.resolve_listed(&listed[0])?;
//! assert_eq!(first.digest, listed[0].digest);
//!
//! let image = source.resolve(&Platform::parse("linux", "arm64")?)?;
//! for layer in &image.layers {
//!     // The digests of the blob and of the tar are computed on the way.
//!     let mut tar = source.tar(layer)?;
//!     std::io::copy(&mut tar, &mut std::io::sink())?;
//!     tar.finish()?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Reference`] names an image in a registry, an OCI layout, an archive, or a tar of a root file
//! system. [`Source::pull`] resolves it and downloads the layers in the background into the state
//! directory, where [`Cache`] lists and removes them. [`RegistryOptions`] has certificates and
//! [`Credentials`], which can also come from files ([`AuthFiles`]). An [`Event`] reports progress
//! and waits.
//!
//! # Errors
//!
//! [`ImageError`] has a variant for each place that can fail, and the cause in `source()`. Its
//! [`Failure::kind`](layer::failure::Failure::kind) tells programs what to do.
//!
//! # Threads and runtimes
//!
//! Everything blocks the thread that it is called on. Inside of an asynchronous runtime it works
//! too, and blocks that runtime's thread: call it there with `spawn_blocking` or the like. TLS has
//! a crypto provider of its own, and no process-wide one is set or asked for.
//!
//! # Events
//!
//! The crate emits [`tracing`](https://docs.rs/tracing) events, with no secrets in them, and sets
//! no subscriber: decisions at level info, requests at debug, pieces of downloads at trace.

/// The example of the README, which must hold.
#[cfg(all(doctest, feature = "registry"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod archive;
#[cfg(feature = "registry")]
mod auth;
mod blob;
mod blobs;
mod config;
mod digest;
mod directory;
mod docker_archive;
mod error;
mod file_range;
#[cfg(all(fuzzing, feature = "registry"))]
#[doc(hidden)]
pub mod fuzzing;
mod helper;
pub mod host;
mod json;
mod layer_tar;
mod layout;
mod listing;
mod manifest;
mod media_type;
mod platform;
mod progress;
mod reference;
#[cfg(feature = "registry")]
mod registry;
#[cfg_attr(not(feature = "registry"), path = "remote/absent.rs")]
mod remote;
mod resolve;
mod spool;
mod tarball;

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

pub use archive::ArchiveError;
#[cfg(feature = "registry")]
pub use auth::{AuthError, AuthFile, AuthFiles, Credentials, InvalidLoginTarget, Login, LoginTarget, Secret};
pub use blob::Blob;
pub use blobs::TarCacheWriter;
pub use blobs::{Cache, CacheEntry, CacheReport, StoreError};
pub use config::{Config, ExecutionConfig, RootfsConfig};
pub use digest::{Algorithm, Digest, DigestError, ParseDigestError, VerifyingReader};
pub use digest::{DigestVerifier, next_data};
pub use docker_archive::DockerArchiveError;
pub use error::ImageError;
pub use file_range::FileError;
pub use helper::Helper;
pub use layer_tar::LayerTar;
pub use layout::LayoutError;
pub use manifest::ManifestError;
pub use platform::{Platform, PlatformError};
pub use progress::{Event, LayerProgress, Progress, Wait, WaitReason};
pub use reference::{LayoutReference, LocalReference, Reference, ReferenceError, RegistryReference};
#[cfg(feature = "registry")]
pub use registry::{
    CertificateOwner, LoginCheck, ProxyRefusal, RedirectError, RegistryError, RegistryOptions, TlsError, check_login,
};

use blob::Bytes;
use blobs::BlobStore;
use directory::Directory;
use docker_archive::DockerArchive;
use file_range::FileRange;
use layer::Limits;
use layer::cancel::{Cancel, Cancelled};
use layer::events::Events;
use layout::Layout;
use manifest::{Descriptor, Entry};
use progress::Reporter;
use reference::Transport;
use remote::Remote;
use resolve::Announce;
use serde::Serialize;
use spool::Spool;
use tarball::Tarball;

/// An image for one platform.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Image {
    /// The reference in canonical form, pinned to [`Image::digest`].
    pub resolved_ref: String,
    /// The digest of the platform's manifest.
    pub digest: Digest,
    /// The platform as the index lists it, or without an index as the image says itself; where
    /// neither says one, the one that was asked for.
    pub platform: Platform,
    /// The platform that the config names, as written, where the index lists another one.
    pub config_platform: Option<String>,
    /// What the image says of itself.
    pub config: Config,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
}

/// A layer: a tar archive, compressed or not, of changes to the layers below.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layer {
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
    /// The media type of the blob, as written; empty where nothing says one.
    pub media_type: String,
    /// The digest of the tar archive in the blob.
    pub diff_id: Digest,
    /// The blob, if it is a tar that the state directory has kept, in place of what the manifest lists.
    cached_tar: Option<CachedTar>,
}

/// What a manifest says of a blob.
#[derive(Debug, Clone)]
struct BlobRef {
    digest: Digest,
    size: u64,
}

#[cfg(test)]
impl BlobRef {
    /// Describes a blob with the digest of a name, of any size.
    fn named(name: &[u8], size: u64) -> Self {
        let digest = Digest::of(Algorithm::Sha256, name);
        Self { digest, size }
    }
}

/// A file that stays readable whatever becomes of its name.
#[derive(Debug, Clone)]
struct CachedTar(Arc<File>);

impl PartialEq for CachedTar {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for CachedTar {}

impl Image {
    /// An image without layers, of a config that its caller has.
    #[must_use]
    pub fn new(resolved_ref: String, digest: Digest, platform: Platform, config: Config) -> Self {
        Self {
            resolved_ref,
            digest,
            platform,
            config_platform: None,
            config,
            layers: Vec::new(),
        }
    }
}

impl Layer {
    /// Whether the blob is the tar, as the state directory has kept it.
    #[must_use]
    pub fn is_unpacked(&self) -> bool {
        self.cached_tar.is_some()
    }

    fn blob_ref(&self) -> BlobRef {
        BlobRef {
            digest: self.digest.clone(),
            size: self.size,
        }
    }
}

/// An image that a reference names, as its index lists it. JSON has the three as members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ListedImage {
    /// The platform; `None` where neither the index nor the image names one.
    pub platform: Option<Platform>,
    /// The digest of the manifest, or of an index in the index.
    pub digest: Digest,
    /// The size of that document in bytes; of a tar, its own.
    pub size: u64,
}

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
    reference: Reference,
    place: Place,
    /// Where tars of layers are kept, if they shall be.
    unpacked: Option<BlobStore>,
    reporter: Reporter,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Source");
        shown.field("reference", &self.reference).finish_non_exhaustive()
    }
}

enum Place {
    Local(Box<dyn Local>),
    Registry(Box<Remote>),
}

/// Files on this machine that hold an image.
trait Local: Send + Sync {
    /// Returns the document or documents that the reference names.
    fn root(&self) -> Result<Root, ImageError>;

    /// An index, a manifest or a config.
    fn document(&self, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>, ImageError>;

    /// The blob of a layer, which must have the right size.
    fn blob(&self, digest: &Digest, size: u64) -> Result<Bytes, ImageError>;
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
        let unpacked = options
            .keep_unpacked
            .then(|| BlobStore::open(&options.state_dir))
            .transpose()?;
        let scratch = Spool::new(&options.state_dir, options.max_download, &options.cancel);
        let reporter = Reporter::new(&options.events);
        let place = Self::find(reference, options, &scratch, &reporter);
        Ok(Self {
            reference: reference.clone(),
            place: place.map_err(Cancelled::surface)?,
            unpacked,
            reporter,
        })
    }

    fn find(
        reference: &Reference,
        options: &SourceOptions,
        scratch: &Spool,
        reporter: &Reporter,
    ) -> Result<Place, ImageError> {
        Ok(match reference {
            Reference::Layout(reference) => Place::Local(Box::new(Layout::open(reference, scratch)?)),
            Reference::Local(reference) => match reference.transport {
                Transport::DockerArchive => Place::Local(Box::new(DockerArchive::open(reference, scratch)?)),
                Transport::Directory => Place::Local(Box::new(Directory::new(reference))),
                Transport::Tarball => Place::Local(Box::new(Tarball::open(reference, scratch)?)),
            },
            Reference::Registry(reference) => Place::Registry(Box::new(Remote::open(reference, options, reporter)?)),
        })
    }

    /// A helper that a credentials file leaves the registry's credentials to, and that was not asked.
    #[must_use]
    pub fn unasked_helper(&self) -> Option<&Helper> {
        match &self.place {
            Place::Local(_) => None,
            Place::Registry(remote) => remote.helper(),
        }
    }

    /// Whether all is on this machine: it may have come through a pipe, and would not come again.
    #[must_use]
    pub fn is_local(&self) -> bool {
        !matches!(self.place, Place::Registry(_))
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
        resolve::listed(self).map_err(Cancelled::surface)
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
        let mut is_begun = false;
        let image = self.search(platform, &mut |blobs| {
            // Only the config says which tars may have been kept.
            if self.unpacked.is_some() {
                return Ok(());
            }
            is_begun = true;
            self.reporter.begin(blobs);
            self.download(blobs)
        })?;
        let layers = if is_begun {
            image.layers.clone()
        } else {
            self.prefetch(&image.layers)?
        };
        Ok((image, layers))
    }

    /// Finds the image for a platform. As soon as it is sure that a manifest is the one, what it says of the layers is announced.
    fn search(&self, platform: &Platform, announce: &mut Announce<'_>) -> Result<Image, ImageError> {
        resolve::resolve(self, platform, announce).map_err(Cancelled::surface)
    }

    /// The layers as they are best read: those whose tar was kept, from there.
    fn with_cached_tars(&self, layers: &[Layer]) -> Vec<Layer> {
        let unpacked = |layer: &Layer| {
            let (file, size) = self.unpacked.as_ref()?.find(&layer.diff_id)?;
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
        let store = self.unpacked.as_ref().filter(|_| layer.digest != layer.diff_id)?;
        let keep = TarCacheWriter::start(store, &layer.diff_id)?;
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
        self.reporter.begin(&blobs);
        let listed: Vec<_> = layers
            .iter()
            .filter(|layer| !layer.is_unpacked())
            .map(Layer::blob_ref)
            .collect();
        self.download(&listed)?;
        Ok(layers)
    }

    fn download(&self, blobs: &[BlobRef]) -> Result<(), ImageError> {
        match &self.place {
            Place::Local(_) => {
                self.reporter.downloaded();
                Ok(())
            }
            Place::Registry(remote) => remote.download(blobs, &self.reporter),
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
        let bytes = match (&layer.cached_tar, &self.place) {
            (Some(CachedTar(file)), _) => Bytes::FileRange(FileRange::new(Arc::clone(file), 0, layer.size)),
            (None, Place::Local(local)) => local.blob(&layer.digest, layer.size)?,
            (None, Place::Registry(remote)) => remote.blob(layer, &self.reporter)?,
        };
        let progress = self.reporter.layer(&layer.digest);
        Ok(Blob::new(bytes, progress))
    }

    /// Waits until the download of a blob is over, if one was begun: then the state directory has it.
    ///
    /// # Errors
    ///
    /// What went wrong at the source or in the state directory; [`ImageError::Content`] when the blob is not the one
    /// that the manifest names.
    pub fn wait_downloaded(&self, layer: &Layer) -> Result<(), ImageError> {
        if let Place::Registry(remote) = &self.place {
            remote.wait_downloaded(layer)?;
        }
        if let Some(layer) = self.reporter.layer(&layer.digest) {
            layer.done();
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
        let kept_in = self.unpacked.as_ref().filter(|_| layer.is_unpacked());
        let store = match &self.place {
            Place::Local(_) => kept_in,
            Place::Registry(remote) => Some(remote.store()),
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
        match &self.place {
            Place::Local(_) => true,
            Place::Registry(remote) => remote.is_downloaded(&layer.digest),
        }
    }

    /// Makes whoever waits for bytes of a download give up: nobody wants them any more.
    pub fn cancel_downloads(&self) {
        if let Place::Registry(remote) = &self.place {
            remote.cancel_downloads();
        }
    }

    /// Returns the document or documents that the reference names.
    fn root(&self) -> Result<Root, ImageError> {
        match &self.place {
            Place::Local(local) => local.root(),
            Place::Registry(remote) => remote.root().map(Root::Document),
        }
    }

    /// The index or manifest of a descriptor.
    fn manifest(&self, descriptor: &Descriptor) -> Result<Fetched, ImageError> {
        let Descriptor {
            digest,
            size,
            media_type,
            ..
        } = descriptor;
        descriptor
            .check_len()
            .map_err(|error| ImageError::document(digest, error))?;
        let json = match &self.place {
            Place::Local(local) => local.document(digest, Some(*size))?,
            Place::Registry(remote) => remote.manifest(digest, *size)?,
        };
        Ok(Fetched {
            digest: digest.clone(),
            media_type: media_type.clone(),
            json,
            platform: None,
        })
    }

    /// The config of a descriptor.
    fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let Descriptor { digest, size, .. } = descriptor;
        descriptor
            .check_len()
            .map_err(|error| ImageError::document(digest, error))?;
        match &self.place {
            Place::Local(local) => local.document(digest, Some(*size)),
            Place::Registry(remote) => remote.config(digest, *size),
        }
    }
}

/// Documents that a reference names.
enum Root {
    /// A manifest or an index.
    Document(Fetched),
    /// One of several images of the same name, which their platforms tell apart.
    OneOf {
        images: Vec<Entry>,
        /// The error where they do not.
        ambiguous: ImageError,
    },
    /// No document, but the only layer of an image that says nothing of itself.
    Layer(Layer),
}

/// A document whose bytes have been held against its digest.
#[derive(Clone)]
struct Fetched {
    digest: Digest,
    /// What its descriptor or the registry calls it; may be empty.
    media_type: String,
    json: Vec<u8>,
    /// The platform that the place lists it for.
    platform: Option<Platform>,
}
