//! Finds container images in registries, OCI layouts and archives, and reads their layers.
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
//!     // Computes the digests of the blob and of the tar while reading.
//!     let mut tar = source.tar(layer)?;
//!     std::io::copy(&mut tar, &mut std::io::sink())?;
//!     tar.finish()?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Reference`] names an image in a registry, an OCI layout or an archive, or a tar of a root
//! file system. [`Source::pull`] resolves it for a platform and downloads its layers in the
//! background into the state directory. [`Cache`] lists and removes what is stored there.
//! [`RegistryOptions`] holds certificates and [`Credentials`]; [`AuthFiles`] reads credentials from
//! files. [`Event`]s report progress and waits.
//!
//! # Errors
//!
//! [`ImageError`] has a variant for each component that can fail, with the cause in `source()`. Its
//! [`Failure::kind`](layer::failure::Failure::kind) lets a program decide what to do, for example
//! whether to try again.
//!
//! # Threads and runtimes
//!
//! All functions block the calling thread. They also work inside an asynchronous runtime, where
//! they block a thread of that runtime: call them with `spawn_blocking` or its equivalent. TLS uses
//! its own crypto provider, and neither reads nor installs a process-wide one.
//!
//! # Events
//!
//! The crate emits [`tracing`](https://docs.rs/tracing) events, which contain no secrets: decisions
//! at level info, requests at debug, pieces of downloads at trace. It installs no subscriber.

/// The README's example, compiled and run as a doctest.
#[cfg(all(doctest, feature = "registry"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod archive;
#[cfg(feature = "registry")]
mod auth;
mod blob;
mod blobs;
mod config;
mod credential_helper;
mod digest;
mod docker_archive;
mod error;
mod file_range;
#[cfg(all(fuzzing, feature = "registry"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod host;
mod image;
mod json;
mod layer_tar;
mod layout;
mod listing;
mod local_image;
mod manifest;
mod media_type;
mod options;
mod platform;
mod progress;
mod pull;
mod reference;
#[cfg(feature = "registry")]
mod registry;
#[cfg_attr(not(feature = "registry"), path = "remote/absent.rs")]
mod remote;
mod resolve;
mod skopeo_directory;
mod source;
mod spool;
mod tarball;

pub use archive::ArchiveError;
#[cfg(feature = "registry")]
pub use auth::{AuthError, AuthFile, AuthFiles, Credentials, InvalidLoginTarget, Login, LoginTarget, Secret};
pub use blob::Blob;
pub use blobs::TarCacheWriter;
pub use blobs::{Cache, CacheEntry, CacheReport, StoreError};
pub use config::{Config, ExecutionConfig, RootfsConfig};
pub use credential_helper::CredentialHelper;
pub use digest::{Algorithm, Digest, DigestError, ParseDigestError, VerifyingReader};
pub use digest::{DigestVerifier, next_data};
pub use docker_archive::DockerArchiveError;
pub use error::ImageError;
pub use file_range::FileError;
pub use image::{Image, Layer, ListedImage};
pub use layer_tar::LayerTar;
pub use layout::LayoutError;
pub use manifest::ManifestError;
pub use options::SourceOptions;
pub use platform::{Platform, PlatformError};
pub use progress::{Event, LayerProgress, Progress, Wait, WaitReason};
pub use reference::{LayoutReference, LocalReference, Reference, ReferenceError, RegistryReference};
#[cfg(feature = "registry")]
pub use registry::{
    CertificateOwner, LoginCheck, ProxyRefusal, RedirectError, RegistryError, RegistryOptions, TlsError, check_login,
};
pub use source::Source;

use image::BlobRef;
use manifest::RawDocument;
