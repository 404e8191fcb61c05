//! Reads images from OCI image layouts, in a directory or a tar: image-spec image-layout.md.

mod error;

use std::io;
use std::path::PathBuf;

use super::archive::Archive;
use super::blob::BlobBytes;
use super::digest::{Digest, DigestError};
use super::error::ImageError;
use super::file_range::{FileError, FileRange};
use super::json;
use super::local_image::{LocalImage, ReferenceTarget};
use super::manifest::{Document, IndexEntry, ManifestError, RawDocument};
use super::platform::Platform;
use super::reference::{LayoutReference, TagOrDigest};
use super::spool::Spool;

pub use error::LayoutError;

/// An opened image layout, and the tag or digest of the image in it.
pub(super) struct ImageLayout {
    files: LayoutFiles,
    selector: Option<TagOrDigest>,
}

/// The files of a layout.
enum LayoutFiles {
    Directory(PathBuf),
    Archive(Archive),
}

impl LayoutFiles {
    /// Opens a regular file of the layout.
    fn open(&self, name: &str) -> Result<FileRange, FileError> {
        let path = self.path(name);
        match self {
            Self::Directory(_) => FileRange::open(&path),
            Self::Archive(archive) => archive.find_file(name).ok_or_else(|| FileError::Read {
                path,
                source: io::ErrorKind::NotFound.into(),
            }),
        }
    }

    /// Returns the path of a file, as errors show it.
    fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Directory(directory) => directory.join(name),
            Self::Archive(archive) => archive.path().join(name),
        }
    }
}

/// Returns the version in an `oci-layout` file.
fn layout_version(marker: &[u8]) -> Result<String, ManifestError> {
    let text = json::lossy_text(marker);
    let marker = json::object(json::document(&text).map_err(ManifestError::json)?)?;
    Ok(marker.require("imageLayoutVersion", json::text)?)
}

impl ImageLayout {
    /// Opens a layout, and checks that its `oci-layout` file has version 1. Decompresses a
    /// compressed archive into `spool`.
    pub(super) fn open(reference: &LayoutReference, spool: &Spool) -> Result<Self, ImageError> {
        let LayoutReference {
            directory,
            archived,
            selector,
        } = reference.clone();
        let files = if archived {
            LayoutFiles::Archive(Archive::open(&directory, spool)?)
        } else {
            LayoutFiles::Directory(directory.clone())
        };
        let path = files.path("oci-layout");
        let marker = match files.open("oci-layout") {
            Err(FileError::Read { source, .. }) if is_not_found(&source) => {
                return Err(LayoutError::NoLayout { directory }.into());
            }
            file => file?.read_document(&path)?,
        };
        let layout_version = layout_version(&marker).map_err(|source| ImageError::document(path.display(), source))?;
        if !layout_version.starts_with("1.") {
            return Err(LayoutError::Version {
                version: layout_version,
            }
            .into());
        }
        Ok(Self { files, selector })
    }

    /// Returns the entries of `index.json` that may be images.
    fn image_entries(&self) -> Result<Vec<IndexEntry>, ImageError> {
        let path = self.files.path("index.json");
        let index = self.files.open("index.json")?.read_document(&path)?;
        match Document::parse(&index, "") {
            Ok(Document::Index(index)) => Ok(index.manifests.into_iter().filter(IndexEntry::may_be_image).collect()),
            Ok(Document::Manifest(_)) => {
                let media_type = String::new();
                Err(ImageError::document(
                    path.display(),
                    ManifestError::Unrecognised { media_type },
                ))
            }
            Err(error) => Err(ImageError::document(path.display(), error)),
        }
    }

    /// Opens a blob by its digest. Returns its path too, for errors.
    fn open_blob(&self, digest: &Digest) -> Result<(FileRange, PathBuf), ImageError> {
        let name = format!("blobs/{}/{}", digest.algorithm().name(), digest.hex());
        match self.files.open(&name) {
            Ok(file) => Ok((file, self.files.path(&name))),
            Err(FileError::Read { source, path }) if is_not_found(&source) => {
                let digest = digest.clone();
                Err(LayoutError::MissingBlob { digest, path }.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl LocalImage for ImageLayout {
    fn target(&self) -> Result<ReferenceTarget, ImageError> {
        let (digest, size, media_type, entries) = match &self.selector {
            // The blob need not be listed in index.json.
            Some(TagOrDigest::Digest(digest)) => {
                let images = self.image_entries().unwrap_or_default();
                (digest.clone(), None, String::new(), images)
            }
            selector => {
                let tag = match selector {
                    Some(TagOrDigest::Tag(tag)) => Some(tag.as_str()),
                    _ => None,
                };
                let images = select_entries(self.image_entries()?, tag)?;
                let [first, others @ ..] = &images[..] else {
                    return Err(LayoutError::Empty.into());
                };
                if !others.iter().all(|other| is_same_image(other, first)) {
                    let ambiguous = ambiguous(&images).into();
                    return Ok(ReferenceTarget::Candidates { images, ambiguous });
                }
                let unusable = |error| ImageError::document(self.files.path("index.json").display(), error);
                let descriptor = first.descriptor().map_err(unusable)?.clone();
                descriptor
                    .check_len()
                    .map_err(|error| ImageError::document(&descriptor.digest, error))?;
                (descriptor.digest, Some(descriptor.size), descriptor.media_type, images)
            }
        };
        Ok(ReferenceTarget::Document(RawDocument {
            json: self.document(&digest, size)?,
            platform: listed_platform(&entries, &digest),
            digest,
            media_type,
        }))
    }

    fn document(&self, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>, ImageError> {
        let (file, path) = self.open_blob(digest)?;
        let content = file.read_document(&path)?;
        digest
            .verify(&content, size)
            .map_err(|source| ImageError::content(digest, source))?;
        Ok(content)
    }

    fn blob(&self, digest: &Digest, size: u64) -> Result<BlobBytes, ImageError> {
        let (file, _) = self.open_blob(digest)?;
        let actual = file.len();
        if actual != size {
            return Err(ImageError::content(
                digest,
                DigestError::SizeMismatch { expected: size, actual },
            ));
        }
        Ok(BlobBytes::FileRange(file))
    }
}

/// Returns the entries for the image with the tag; without a tag, for the only image.
///
/// Several entries with one digest are one image. Several entries with one name are an image for
/// several platforms, one of which is chosen later.
fn select_entries(images: Vec<IndexEntry>, tag: Option<&str>) -> Result<Vec<IndexEntry>, LayoutError> {
    let is_selected = |image: &IndexEntry| tag.is_none_or(|tag| image.ref_name() == Some(tag));
    let (matching, others): (Vec<_>, Vec<_>) = images.into_iter().partition(is_selected);
    match (matching.split_first(), tag) {
        (Some((first, others)), _)
            if others.iter().all(|other| is_same_image(other, first))
                || others.iter().all(|other| other.ref_name() == first.ref_name()) =>
        {
            Ok(matching)
        }
        (Some(_), _) => Err(ambiguous(&matching)),
        (None, None) => Err(LayoutError::Empty),
        (None, Some(tag)) => {
            let available = others.iter().filter_map(IndexEntry::ref_name);
            Err(LayoutError::NoSuchTag {
                tag: tag.to_owned(),
                available: available.map(str::to_owned).collect(),
            })
        }
    }
}

/// Returns the platform of the first entry for the digest that names one.
fn listed_platform(entries: &[IndexEntry], digest: &Digest) -> Option<Platform> {
    let mut entries = entries.iter().filter(|entry| entry.digest() == Some(digest));
    entries.find_map(|entry| entry.platform().ok()?.cloned())
}

/// Returns whether two entries have the same digest, and so are names of one image.
fn is_same_image(one: &IndexEntry, other: &IndexEntry) -> bool {
    one.digest().is_some() && one.digest() == other.digest()
}

fn ambiguous(images: &[IndexEntry]) -> LayoutError {
    LayoutError::Ambiguous {
        images: images.iter().map(describe_entry).collect(),
    }
}

/// Describes an entry in an error by its name and digest.
fn describe_entry(image: &IndexEntry) -> String {
    let digest = image.digest().map_or("no valid digest".to_owned(), ToString::to_string);
    match image.ref_name() {
        Some(name) => format!("{name} ({digest})"),
        None => digest,
    }
}

/// Returns whether a file does not exist.
fn is_not_found(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
