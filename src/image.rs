//! Images at their sources: from a reference to a platform's manifest, and from there to the bytes of each layer.
//!
//! Everything waits where it is called, so call it from a thread, not from asynchronous code.

mod auth;
mod blobs;
mod config;
mod digest;
mod error;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod layout;
mod manifest;
mod platform;
mod reference;
mod registry;
mod resolve;

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use auth::{AuthError, file_from_environment as auth_file_from_environment};
pub use blobs::StoreError;
pub use config::{Config, Execution, Rootfs};
pub use digest::{Algorithm, Digest, DigestError, ParseDigestError, Verified};
pub use error::ImageError;
pub use layout::LayoutError;
pub use manifest::ManifestError;
pub use platform::{Platform, PlatformError};
pub use reference::{LayoutReference, Reference, ReferenceError, RegistryReference};
pub use registry::RegistryError;

use blobs::BlobStore;
use layout::Layout;
use manifest::Descriptor;
use registry::Registry;

/// An image for one platform.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Image {
    /// The reference in canonical form, pinned to [`Image::digest`].
    pub resolved_ref: String,
    /// The digest of the platform's manifest.
    pub digest: Digest,
    /// The platform as the index lists it, or without an index as the image says itself.
    pub platform: Platform,
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
    /// The media type of the blob.
    pub media_type: String,
    /// The digest of the tar archive in the blob.
    pub diff_id: Digest,
}

/// How to open a source.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// The directory for what is downloaded. It need not exist yet.
    pub state_dir: PathBuf,
    /// A file with credentials as containers-auth.json(5) describes it; without one, access is anonymous.
    pub auth_file: Option<PathBuf>,
    /// Set by someone else to make whatever waits for the network give up, with [`ImageError::Interrupted`].
    pub interrupted: Arc<AtomicBool>,
}

/// Where the image of a reference comes from. Several threads may ask for blobs at once.
pub struct Source {
    reference: Reference,
    place: Place,
}

enum Place {
    Layout(Layout),
    Registry { registry: Box<Registry>, store: BlobStore },
}

impl Source {
    /// Opens the place that the reference names. Sends nothing to a registry yet.
    ///
    /// # Errors
    ///
    /// [`ImageError::Layout`] when there is no image layout, [`ImageError::Auth`] when the credentials cannot be read,
    /// [`ImageError::Registry`] when this machine lacks what it takes to speak to one.
    pub fn open(reference: &Reference, options: &SourceOptions) -> Result<Self, ImageError> {
        let place = match reference {
            Reference::Layout(reference) => Place::Layout(Layout::open(reference)?),
            Reference::Registry(reference) => Place::Registry {
                registry: Box::new(Registry::open(reference, options)?),
                store: BlobStore::new(&options.state_dir),
            },
        };
        Ok(Self {
            reference: reference.clone(),
            place,
        })
    }

    /// Finds the image for a platform, through indexes if need be, and reads its manifest and config.
    ///
    /// # Errors
    ///
    /// [`ImageError::NoPlatform`] when there is no image for the platform; [`ImageError::Document`] and
    /// [`ImageError::Content`] when a document cannot be used or trusted; otherwise what went wrong at the source.
    pub fn resolve(&self, platform: &Platform) -> Result<Image, ImageError> {
        resolve::resolve(self, platform)
    }

    /// Opens the blob of a layer; downloads it first, unless the state directory has it already.
    ///
    /// A download is held against digest and size. What is on this machine's disks already is not: read it through
    /// [`Verified`], and [`Source::forget`] it if it turns out wrong.
    ///
    /// # Errors
    ///
    /// [`ImageError::Content`] when the size or the digest of a download is wrong, or the size of a file in a layout;
    /// otherwise what went wrong at the source or in the state directory.
    pub fn blob(&self, layer: &Layer) -> Result<Blob, ImageError> {
        let file = match &self.place {
            Place::Layout(layout) => layout.blob(&layer.digest, layer.size)?,
            Place::Registry { registry, store } => match store.get(&layer.digest, layer.size)? {
                Some(file) => file,
                None => registry.download(&layer.digest, layer.size, store)?,
            },
        };
        Ok(Blob(file))
    }

    /// Removes the copy of a blob that the state directory may hold, so that it will be downloaded again.
    ///
    /// An image layout is not touched.
    ///
    /// # Errors
    ///
    /// [`ImageError::Store`] when the file cannot be removed.
    pub fn forget(&self, layer: &Layer) -> Result<(), ImageError> {
        match &self.place {
            Place::Layout(_) => Ok(()),
            Place::Registry { store, .. } => Ok(store.remove(&layer.digest)?),
        }
    }

    /// The document that the reference means.
    fn root(&self) -> Result<Fetched, ImageError> {
        match &self.place {
            Place::Layout(layout) => match layout.pinned() {
                Some(digest) => {
                    let json = layout.document(digest, None)?;
                    Ok(Fetched {
                        digest: digest.clone(),
                        media_type: String::new(),
                        json,
                    })
                }
                None => self.manifest(&layout.listed()?),
            },
            Place::Registry { registry, .. } => registry.root(),
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
            Place::Layout(layout) => layout.document(digest, Some(*size))?,
            Place::Registry { registry, .. } => registry.manifest(digest, *size)?,
        };
        Ok(Fetched {
            digest: digest.clone(),
            media_type: media_type.clone(),
            json,
        })
    }

    /// The config of a descriptor.
    fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let Descriptor { digest, size, .. } = descriptor;
        descriptor
            .check_len()
            .map_err(|error| ImageError::document(digest, error))?;
        match &self.place {
            Place::Layout(layout) => layout.document(digest, Some(*size)),
            Place::Registry { registry, .. } => registry.config(digest, *size),
        }
    }
}

/// A document whose bytes have been held against its digest.
struct Fetched {
    digest: Digest,
    /// What its descriptor or the registry calls it; may be empty.
    media_type: String,
    json: Vec<u8>,
}

/// The bytes of a layer as they are at the source, compressed or not.
#[derive(Debug)]
pub struct Blob(File);

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}
