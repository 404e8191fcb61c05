//! Archives of `docker save`: docker's image/spec, "Combined Image JSON + Filesystem Changeset
//! Format".
//!
//! It has no manifest that a registry would, so one is made here as skopeo and podman make it, byte
//! by byte: what they say the digest is, it is. But for the media type of the layers, which they
//! call gzip, and the archive nothing.

mod error;

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use super::archive::{Archive, ArchiveError};
use super::blob::Bytes;
use super::config::Config;
use super::digest::{Algorithm, Digest, DigestError};
use super::error::ImageError;
use super::file_range::{FileError, FileRange};
use super::json;
use super::manifest::{Entry, ManifestError};
use super::reference::{Choice, LocalReference, RegistryReference};
use super::source::{Fetched, Local, Root};
use super::spool::Spool;
use layer::{Compression, decode};

pub use error::DockerArchiveError;

/// Most images that are looked at: each has a config of up to 4 MiB.
const MAX_IMAGES: usize = 1000;

/// An archive, and the images in it that can be meant: one, or one for each platform.
pub(super) struct DockerArchive {
    path: PathBuf,
    images: Vec<Image>,
    /// All images of the archive, for errors.
    listing: Vec<String>,
}

struct Image {
    names: Vec<String>,
    /// Without media types of layers: the archive says none.
    manifest: Vec<u8>,
    /// Digest of the manifest that others make of it.
    digest: Digest,
    config: (Digest, Vec<u8>),
    layers: BTreeMap<Digest, Layer>,
}

struct Layer {
    section: FileRange,
    /// Uncompressed, as docker writes them; others also do otherwise.
    size: u64,
    is_compressed: bool,
}

/// An image in `manifest.json`.
struct Saved {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl Saved {
    /// Reads all of `manifest.json`.
    fn read_all(manifest: &[u8]) -> Result<Vec<Self>, ManifestError> {
        let text = json::text_of(manifest);
        let images = json::document(&text).map_err(ManifestError::json)?;
        Ok(json::list(images, Self::read)?)
    }

    fn read(value: &json::Value) -> Result<Self, json::Error> {
        let object = json::object(value)?;
        let names = |names| json::list(names, json::text);
        Ok(Self {
            config: object.need("Config", json::text)?,
            repo_tags: object.get_or_default("RepoTags", names)?,
            layers: object.get_or_default("Layers", names)?,
        })
    }
}

impl DockerArchive {
    /// Opens an archive, and finds the image that the reference means.
    pub(super) fn open(reference: &LocalReference, scratch: &Spool) -> Result<Self, ImageError> {
        let archive = Archive::open(&reference.path, scratch)?;
        let path = archive.path().to_owned();
        let manifest = document(&archive, "manifest.json")?;
        let saved = Saved::read_all(&manifest).map_err(|error| ImageError::document("manifest.json", error))?;
        let mut found: Vec<Image> = Vec::new();
        let mut sizes = Sizes::new(scratch);
        let mut meant = 0;
        for (nr, saved) in saved.iter().enumerate() {
            if !is_meant(reference.choice.as_ref(), nr, saved) {
                continue;
            }
            scratch.check()?;
            meant += 1;
            if meant > MAX_IMAGES {
                return Err(DockerArchiveError::TooManyImages { path, max: MAX_IMAGES }.into());
            }
            let image = Image::read(&archive, saved, &mut sizes)?;
            let is_wanted = match &reference.choice {
                Some(Choice::Digest(digest)) => *digest == image.digest,
                _ => true,
            };
            if is_wanted && found.iter().all(|other| other.digest != image.digest) {
                found.push(image);
            }
        }
        let listing: Vec<_> = saved.iter().enumerate().map(describe).collect();
        let [first, others @ ..] = &found[..] else {
            return Err(DockerArchiveError::NoSuchImage {
                path,
                wanted: reference.choice.as_ref().map(ToString::to_string).unwrap_or_default(),
                images: listing,
            }
            .into());
        };
        let is_tag = matches!(reference.choice, Some(Choice::Tag(_)));
        let has_names = |other: &Image| !other.names.is_empty() && other.names == first.names;
        if !is_tag && !others.iter().all(has_names) {
            return Err(DockerArchiveError::Ambiguous { path, images: listing }.into());
        }
        Ok(Self {
            path,
            images: found,
            listing,
        })
    }
}

impl Image {
    fn read(archive: &Archive, saved: &Saved, sizes: &mut Sizes<'_>) -> Result<Self, ImageError> {
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
        let mut described = Vec::new();
        for (name, diff_id) in saved.layers.iter().zip(diff_ids) {
            let layer = sizes.layer(archive, name)?;
            described.push((layer.size, diff_id.clone()));
            layers.insert(diff_id, layer);
        }
        let config_descriptor = descriptor(
            "application/vnd.docker.container.image.v1+json",
            config.len() as u64,
            &config_digest,
        );
        let manifest = |layer_type: &str| {
            let layers = described
                .iter()
                .map(|(size, digest)| descriptor(layer_type, *size, digest));
            let layers = layers.collect::<Vec<_>>().join(",");
            format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{config_descriptor},"layers":[{layers}]}}"#
            )
        };
        let known = manifest("application/vnd.docker.image.rootfs.diff.tar.gzip");
        Ok(Self {
            names: saved.repo_tags.clone(),
            digest: Digest::of(Algorithm::Sha256, known.as_bytes()),
            manifest: manifest("").into_bytes(),
            config: (config_digest, config),
            layers,
        })
    }
}

/// What the layers of an archive were found to have when they are decompressed, which is done once for each that is named, and not
/// for more bytes than are kept of any archive.
struct Sizes<'a> {
    scratch: &'a Spool,
    known: BTreeMap<String, u64>,
    total: u64,
}

impl<'a> Sizes<'a> {
    fn new(scratch: &'a Spool) -> Self {
        Self {
            scratch,
            known: BTreeMap::new(),
            total: 0,
        }
    }

    fn layer(&mut self, archive: &Archive, name: &str) -> Result<Layer, ImageError> {
        let section = archive.get(name).ok_or_else(|| missing(archive, name))?;
        let path = || archive.path().join(name);
        let whole = BufReader::new(self.scratch.cancellable(section.clone()));
        let decoder = decode(whole, "").map_err(|source| ArchiveError::Layer { path: path(), source })?;
        let is_compressed = decoder.compression() != Compression::None;
        let size = match self.known.get(name) {
            _ if !is_compressed => section.len(),
            Some(size) => *size,
            None => {
                let max = self.scratch.max_len();
                let mut decoder = self
                    .scratch
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
        Ok(Layer {
            section,
            size,
            is_compressed,
        })
    }
}

impl Local for DockerArchive {
    fn root(&self) -> Result<Root, ImageError> {
        if let [image] = &self.images[..] {
            return Ok(Root::Document(Fetched {
                digest: image.digest.clone(),
                media_type: String::new(),
                json: image.manifest.clone(),
                platform: None,
            }));
        }
        let entry = |image: &Image| Entry::unlisted(image.digest.clone(), image.manifest.len() as u64);
        Ok(Root::OneOf {
            images: self.images.iter().map(entry).collect(),
            ambiguous: DockerArchiveError::Ambiguous {
                path: self.path.clone(),
                images: self.listing.clone(),
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

    fn blob(&self, digest: &Digest, size: u64) -> Result<Bytes, ImageError> {
        let layer = self.images.iter().find_map(|image| image.layers.get(digest));
        let layer = layer.ok_or_else(|| self.missing(digest))?;
        if layer.size != size {
            let actual = layer.size;
            return Err(ImageError::content(
                digest,
                DigestError::SizeMismatch { expected: size, actual },
            ));
        }
        if !layer.is_compressed {
            return Ok(Bytes::FileRange(layer.section.clone()));
        }
        let decoder = decode(BufReader::new(layer.section.clone()), "").map_err(|source| ArchiveError::Layer {
            path: self.path.clone(),
            source,
        })?;
        Ok(Bytes::Decoded(layer.section.clone(), Box::new(decoder)))
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

/// Whether an image may be the one that is meant, as far as its names tell.
fn is_meant(choice: Option<&Choice>, nr: usize, saved: &Saved) -> bool {
    match choice {
        None | Some(Choice::Digest(_)) => true,
        Some(Choice::Index(index)) => *index == nr,
        Some(Choice::Tag(tag)) => {
            let wanted = RegistryReference::parse(tag).ok();
            let is_same =
                |name: &String| name == tag || (wanted.is_some() && RegistryReference::parse(name).ok() == wanted);
            saved.repo_tags.iter().any(is_same)
        }
    }
}

fn describe((nr, saved): (usize, &Saved)) -> String {
    if saved.repo_tags.is_empty() {
        format!("@{nr}")
    } else {
        format!("@{nr} ({})", saved.repo_tags.join(", "))
    }
}

fn descriptor(media_type: &str, size: u64, digest: &Digest) -> String {
    format!(r#"{{"mediaType":"{media_type}","size":{size},"digest":"{digest}"}}"#)
}

fn document(archive: &Archive, name: &str) -> Result<Vec<u8>, ImageError> {
    let section = archive.get(name).ok_or_else(|| missing(archive, name))?;
    section.document(&archive.path().join(name))
}

fn missing(archive: &Archive, name: &str) -> ImageError {
    ArchiveError::Missing {
        path: archive.path().to_owned(),
        name: name.to_owned(),
    }
    .into()
}
