//! Reads images from archives of `docker save`: docker's image/spec, "Combined Image JSON +
//! Filesystem Changeset Format".
//!
//! The archive has no manifest like that of a registry, so this module makes one. Its digest is
//! that of the manifest that skopeo and podman make, byte for byte, so all three report the same
//! digest. Their manifest calls the layers gzip; the one returned here leaves their media type
//! empty, as the archive names none.

mod error;

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use super::archive::{Archive, ArchiveError};
use super::blob::BlobBytes;
use super::config::Config;
use super::digest::{Algorithm, Digest, DigestError};
use super::error::ImageError;
use super::file_range::{FileError, FileRange};
use super::json;
use super::local_image::{LocalImage, ReferenceTarget};
use super::manifest::{IndexEntry, ManifestError, RawDocument};
use super::reference::{ImageSelector, LocalReference, RegistryReference};
use super::spool::Spool;
use layer::{Compression, decode};

pub use error::DockerArchiveError;

/// Limit on images whose config is read, each of up to 4 MiB.
const MAX_IMAGES: usize = 1000;

/// An opened archive, and the images in it that the reference can mean: one, or one per platform.
pub(super) struct DockerArchive {
    path: PathBuf,
    images: Vec<ArchivedImage>,
    /// Descriptions of all images in the archive, for errors.
    all_images: Vec<String>,
}

/// An image of the archive, with its documents in memory.
struct ArchivedImage {
    names: Vec<String>,
    /// Made by this module, with empty media types of layers.
    manifest: Vec<u8>,
    /// Digest of the manifest as skopeo and podman make it, which differs from `manifest` in the
    /// media types of layers.
    digest: Digest,
    config: (Digest, Vec<u8>),
    layers: BTreeMap<Digest, ArchivedLayer>,
}

/// A layer of the archive, in its file.
struct ArchivedLayer {
    range: FileRange,
    /// Size of the uncompressed tar in bytes. Docker stores tars uncompressed; other tools compress
    /// them.
    size: u64,
    compressed: bool,
}

/// An item of `manifest.json`: one image of the archive, with file names of its config and layers.
struct SavedImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl SavedImage {
    /// Reads all items of `manifest.json`.
    fn read_all(manifest: &[u8]) -> Result<Vec<Self>, ManifestError> {
        let text = json::lossy_text(manifest);
        let images = json::document(&text).map_err(ManifestError::json)?;
        Ok(json::list(images, Self::read)?)
    }

    /// Reads one item.
    fn read(value: &json::Value) -> Result<Self, json::Error> {
        let object = json::object(value)?;
        let names = |names| json::list(names, json::text);
        Ok(Self {
            config: object.require("Config", json::text)?,
            repo_tags: object.get_or_default("RepoTags", names)?,
            layers: object.get_or_default("Layers", names)?,
        })
    }
}

impl DockerArchive {
    /// Opens an archive, and finds the images that the reference selects.
    pub(super) fn open(reference: &LocalReference, spool: &Spool) -> Result<Self, ImageError> {
        let archive = Archive::open(&reference.path, spool)?;
        let path = archive.path().to_owned();
        let manifest = document(&archive, "manifest.json")?;
        let saved = SavedImage::read_all(&manifest).map_err(|error| ImageError::document("manifest.json", error))?;
        let mut images: Vec<ArchivedImage> = Vec::new();
        let mut sizes = LayerSizes::new(spool);
        let mut matching = 0;
        for (nr, image) in saved.iter().enumerate() {
            if !matches_selector(reference.selector.as_ref(), nr, image) {
                continue;
            }
            spool.check()?;
            matching += 1;
            if matching > MAX_IMAGES {
                return Err(DockerArchiveError::TooManyImages { path, max: MAX_IMAGES }.into());
            }
            let image = ArchivedImage::read(&archive, image, &mut sizes)?;
            let is_selected = match &reference.selector {
                Some(ImageSelector::Digest(digest)) => *digest == image.digest,
                _ => true,
            };
            if is_selected && images.iter().all(|other| other.digest != image.digest) {
                images.push(image);
            }
        }
        let all_images: Vec<_> = saved.iter().enumerate().map(describe_image).collect();
        let [first, others @ ..] = &images[..] else {
            return Err(DockerArchiveError::NoSuchImage {
                path,
                wanted: reference.selector.as_ref().map(ToString::to_string).unwrap_or_default(),
                images: all_images,
            }
            .into());
        };
        let is_tag = matches!(reference.selector, Some(ImageSelector::Tag(_)));
        let has_names = |other: &ArchivedImage| !other.names.is_empty() && other.names == first.names;
        if !is_tag && !others.iter().all(has_names) {
            return Err(DockerArchiveError::Ambiguous {
                path,
                images: all_images,
            }
            .into());
        }
        Ok(Self {
            path,
            images,
            all_images,
        })
    }
}

impl ArchivedImage {
    /// Reads the config of an image, measures its layers, and makes its manifest.
    fn read(archive: &Archive, saved: &SavedImage, sizes: &mut LayerSizes<'_>) -> Result<Self, ImageError> {
        let config = document(archive, &saved.config)?;
        let config_digest = Digest::of(Algorithm::Sha256, &config);
        let unusable = |error| ImageError::document(&saved.config, error);
        let diff_ids = Config::parse(&config).map_err(unusable)?.rootfs.diff_ids;
        if diff_ids.len() != saved.layers.len() {
            return Err(unusable(ManifestError::LayerCount {
                layers: saved.layers.len(),
                diff_ids: diff_ids.len(),
            }));
        }
        let mut layers = BTreeMap::new();
        let mut sizes_and_digests = Vec::new();
        for (name, diff_id) in saved.layers.iter().zip(diff_ids) {
            let layer = sizes.layer(archive, name)?;
            sizes_and_digests.push((layer.size, diff_id.clone()));
            layers.insert(diff_id, layer);
        }
        let config_descriptor = descriptor(
            "application/vnd.docker.container.image.v1+json",
            config.len() as u64,
            &config_digest,
        );
        let manifest = |layer_type: &str| {
            let layers = sizes_and_digests
                .iter()
                .map(|(size, digest)| descriptor(layer_type, *size, digest));
            let layers = layers.collect::<Vec<_>>().join(",");
            format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{config_descriptor},"layers":[{layers}]}}"#
            )
        };
        let published = manifest("application/vnd.docker.image.rootfs.diff.tar.gzip");
        Ok(Self {
            names: saved.repo_tags.clone(),
            digest: Digest::of(Algorithm::Sha256, published.as_bytes()),
            manifest: manifest("").into_bytes(),
            config: (config_digest, config),
            layers,
        })
    }
}

/// Measures the uncompressed sizes of compressed layers. Decompresses each layer once, and all of
/// them together up to the spool's limit in bytes.
struct LayerSizes<'a> {
    spool: &'a Spool,
    known: BTreeMap<String, u64>,
    total: u64,
}

impl<'a> LayerSizes<'a> {
    fn new(spool: &'a Spool) -> Self {
        Self {
            spool,
            known: BTreeMap::new(),
            total: 0,
        }
    }

    /// Opens a layer by its file name, and finds its uncompressed size.
    fn layer(&mut self, archive: &Archive, name: &str) -> Result<ArchivedLayer, ImageError> {
        let range = archive.find_file(name).ok_or_else(|| missing(archive, name))?;
        let path = || archive.path().join(name);
        let whole = BufReader::new(self.spool.cancellable(range.clone()));
        let decoder = decode(whole, "").map_err(|source| ArchiveError::Layer { path: path(), source })?;
        let compressed = decoder.compression() != Compression::None;
        let size = match self.known.get(name) {
            _ if !compressed => range.len(),
            Some(size) => *size,
            None => {
                let max = self.spool.max_len();
                let mut decoder = self
                    .spool
                    .cancellable(decoder)
                    .take((max - self.total).saturating_add(1));
                let size = io::copy(&mut decoder, &mut io::sink());
                let size = size.map_err(|source| FileError::Read { path: path(), source })?;
                self.total += size;
                if self.total > max {
                    return Err(FileError::TooLarge { path: path(), max }.into());
                }
                self.known.insert(name.to_owned(), size);
                size
            }
        };
        Ok(ArchivedLayer {
            range,
            size,
            compressed,
        })
    }
}

impl LocalImage for DockerArchive {
    fn target(&self) -> Result<ReferenceTarget, ImageError> {
        if let [image] = &self.images[..] {
            return Ok(ReferenceTarget::Document(RawDocument {
                digest: image.digest.clone(),
                media_type: String::new(),
                json: image.manifest.clone(),
                platform: None,
            }));
        }
        let entry = |image: &ArchivedImage| IndexEntry::for_manifest(image.digest.clone(), image.manifest.len() as u64);
        Ok(ReferenceTarget::Candidates {
            images: self.images.iter().map(entry).collect(),
            ambiguous: DockerArchiveError::Ambiguous {
                path: self.path.clone(),
                images: self.all_images.clone(),
            }
            .into(),
        })
    }

    fn document(&self, digest: &Digest, _size: Option<u64>) -> Result<Vec<u8>, ImageError> {
        let document = self.images.iter().find_map(|image| {
            let (config_digest, config) = &image.config;
            let mut documents = [(config_digest, config), (&image.digest, &image.manifest)].into_iter();
            documents.find_map(|(known, document)| (known == digest).then_some(document))
        });
        document.cloned().ok_or_else(|| self.missing(digest))
    }

    fn blob(&self, digest: &Digest, size: u64) -> Result<BlobBytes, ImageError> {
        let layer = self.images.iter().find_map(|image| image.layers.get(digest));
        let layer = layer.ok_or_else(|| self.missing(digest))?;
        if layer.size != size {
            let actual = layer.size;
            return Err(ImageError::content(
                digest,
                DigestError::SizeMismatch { expected: size, actual },
            ));
        }
        if !layer.compressed {
            return Ok(BlobBytes::FileRange(layer.range.clone()));
        }
        let decoder = decode(BufReader::new(layer.range.clone()), "").map_err(|source| ArchiveError::Layer {
            path: self.path.clone(),
            source,
        })?;
        Ok(BlobBytes::Decompressed(layer.range.clone(), Box::new(decoder)))
    }
}

impl DockerArchive {
    fn missing(&self, digest: &Digest) -> ImageError {
        ArchiveError::Missing {
            path: self.path.clone(),
            name: digest.to_string(),
        }
        .into()
    }
}

/// Returns whether the image at position `nr` can be the selected one, judged by its position and
/// names. A digest is compared later.
fn matches_selector(selector: Option<&ImageSelector>, nr: usize, saved: &SavedImage) -> bool {
    match selector {
        None | Some(ImageSelector::Digest(_)) => true,
        Some(ImageSelector::Index(index)) => *index == nr,
        Some(ImageSelector::Tag(tag)) => {
            let wanted = RegistryReference::parse(tag).ok();
            let is_same =
                |name: &String| name == tag || (wanted.is_some() && RegistryReference::parse(name).ok() == wanted);
            saved.repo_tags.iter().any(is_same)
        }
    }
}

/// Describes an image in an error by its position and names.
fn describe_image((nr, saved): (usize, &SavedImage)) -> String {
    if saved.repo_tags.is_empty() {
        format!("@{nr}")
    } else {
        format!("@{nr} ({})", saved.repo_tags.join(", "))
    }
}

/// Returns the JSON of a descriptor.
fn descriptor(media_type: &str, size: u64, digest: &Digest) -> String {
    format!(r#"{{"mediaType":"{media_type}","size":{size},"digest":"{digest}"}}"#)
}

/// Reads a document in the archive.
fn document(archive: &Archive, name: &str) -> Result<Vec<u8>, ImageError> {
    let range = archive.find_file(name).ok_or_else(|| missing(archive, name))?;
    range.read_document(&archive.path().join(name))
}

fn missing(archive: &Archive, name: &str) -> ImageError {
    ArchiveError::Missing {
        path: archive.path().to_owned(),
        name: name.to_owned(),
    }
    .into()
}
