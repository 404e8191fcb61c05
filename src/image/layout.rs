//! OCI image layout directories: image-spec image-layout.md.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::digest::{Digest, DigestError};
use super::error::{ImageError, Listing};
use super::manifest::{Descriptor, Document, MAX_DOCUMENT_LEN, ManifestError};
use super::reference::{LayoutReference, Version};

/// An opened image layout, and which of its images is meant.
pub(super) struct Layout {
    directory: PathBuf,
    version: Option<Version>,
}

/// Content of the `oci-layout` file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Layout {
    /// Opens a layout; its `oci-layout` file must say that it is one.
    pub(super) fn open(reference: &LayoutReference) -> Result<Self, ImageError> {
        let LayoutReference { directory, version } = reference.clone();
        let path = directory.join("oci-layout");
        let marker = match open(&path) {
            Err(LayoutError::Read { source, .. }) if is_absence(&source) => {
                return Err(LayoutError::NoLayout { directory }.into());
            }
            file => read_document(file?, &path)?,
        };
        let marker: Marker = serde_json::from_slice(&marker)
            .map_err(|source| ImageError::document(path.display(), ManifestError::Json(source)))?;
        if !marker.image_layout_version.starts_with("1.") {
            return Err(LayoutError::Version {
                version: marker.image_layout_version,
            }
            .into());
        }
        Ok(Self { directory, version })
    }

    /// The digest that the reference names.
    pub(super) fn pinned(&self) -> Option<&Digest> {
        match &self.version {
            Some(Version::Digest(digest)) => Some(digest),
            _ => None,
        }
    }

    /// What `index.json` lists under the tag that the reference names, or as the only image.
    pub(super) fn listed(&self) -> Result<Descriptor, ImageError> {
        let path = self.directory.join("index.json");
        let index = read_document(open(&path)?, &path)?;
        let index = match Document::parse(&index, "") {
            Ok(Document::Index(index)) => index,
            Ok(Document::Manifest(_)) => {
                let media_type = String::new();
                return Err(ImageError::document(
                    path.display(),
                    ManifestError::Unrecognised { media_type },
                ));
            }
            Err(error) => return Err(ImageError::document(path.display(), error)),
        };
        let images: Vec<_> = index.manifests.iter().filter(|image| image.may_be_image()).collect();
        let tag = match &self.version {
            Some(Version::Tag(tag)) => Some(tag.as_str()),
            _ => None,
        };
        Ok(choose(&images, tag)?.clone())
    }

    /// Reads an index, a manifest or a config.
    pub(super) fn document(&self, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>, ImageError> {
        let (file, path) = self.open_blob(digest)?;
        let content = read_document(file, &path)?;
        digest
            .check(&content, size)
            .map_err(|source| ImageError::content(digest, source))?;
        Ok(content)
    }

    /// Opens the blob of a layer, which must have the right size.
    pub(super) fn blob(&self, digest: &Digest, size: u64) -> Result<File, ImageError> {
        let (file, path) = self.open_blob(digest)?;
        let actual = file
            .metadata()
            .map_err(|source| LayoutError::Read { path, source })?
            .len();
        if actual != size {
            return Err(ImageError::content(
                digest,
                DigestError::SizeMismatch { expected: size, actual },
            ));
        }
        Ok(file)
    }

    fn open_blob(&self, digest: &Digest) -> Result<(File, PathBuf), LayoutError> {
        let path = self
            .directory
            .join("blobs")
            .join(digest.algorithm().name())
            .join(digest.hex());
        match open(&path) {
            Ok(file) => Ok((file, path)),
            Err(LayoutError::Read { source, path }) if is_absence(&source) => Err(LayoutError::MissingBlob {
                digest: digest.clone(),
                path,
            }),
            Err(error) => Err(error),
        }
    }
}

/// The one image that has the tag, or the one that there is. Several names of one digest are one image.
fn choose<'a>(images: &[&'a Descriptor], tag: Option<&str>) -> Result<&'a Descriptor, LayoutError> {
    let matching: Vec<_> = images
        .iter()
        .copied()
        .filter(|image| tag.is_none_or(|tag| image.ref_name() == Some(tag)))
        .collect();
    match (matching.split_first(), tag) {
        (Some((first, others)), _) if others.iter().all(|other| other.digest == first.digest) => Ok(*first),
        (Some(_), _) => Err(LayoutError::Ambiguous {
            images: matching.into_iter().map(describe).collect(),
        }),
        (None, None) => Err(LayoutError::Empty),
        (None, Some(tag)) => {
            let available = images
                .iter()
                .filter_map(|image| image.ref_name())
                .map(str::to_owned)
                .collect();
            Err(LayoutError::NoSuchTag {
                tag: tag.to_owned(),
                available,
            })
        }
    }
}

fn describe(image: &Descriptor) -> String {
    match image.ref_name() {
        Some(name) => format!("{name} ({})", image.digest),
        None => image.digest.to_string(),
    }
}

/// Opens a regular file: opening a FIFO would wait for ever.
fn open(path: &Path) -> Result<File, LayoutError> {
    let read = |source| LayoutError::Read {
        path: path.to_owned(),
        source,
    };
    if !fs::metadata(path).map_err(read)?.is_file() {
        return Err(LayoutError::NotAFile { path: path.to_owned() });
    }
    File::open(path).map_err(read)
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn read_document(file: File, path: &Path) -> Result<Vec<u8>, ImageError> {
    let mut content = Vec::new();
    file.take(MAX_DOCUMENT_LEN + 1)
        .read_to_end(&mut content)
        .map_err(|source| LayoutError::Read {
            path: path.to_owned(),
            source,
        })?;
    if content.len() as u64 > MAX_DOCUMENT_LEN {
        let len = content.len() as u64;
        return Err(ImageError::document(path.display(), ManifestError::TooLarge { len }));
    }
    Ok(content)
}

/// An image layout directory that does not hold the image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The directory does not exist or has no `oci-layout` file.
    #[error("{} is no OCI image layout: it has no file oci-layout", .directory.display())]
    NoLayout {
        /// The directory.
        directory: PathBuf,
    },
    /// A layout of a version other than 1.
    #[error("OCI image layout version {version:?}: 1.0.0 is the one that is supported")]
    Version {
        /// The `imageLayoutVersion`.
        version: String,
    },
    /// A file of the layout that could not be read.
    #[error("could not read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A directory, device or FIFO where a file belongs.
    #[error("{} is no regular file", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A blob that something refers to and that is not there.
    #[error("blob {digest} is missing: there is no {}", .path.display())]
    MissingBlob {
        /// The digest of the blob.
        digest: Digest,
        /// Where it should be.
        path: PathBuf,
    },
    /// An `index.json` without any image.
    #[error("the layout holds no image")]
    Empty,
    /// No image of that name.
    #[error("no image is tagged {tag:?}; there is {}", Listing(available))]
    NoSuchTag {
        /// The name asked for.
        tag: String,
        /// The names that there are.
        available: Vec<String>,
    },
    /// Several images, and nothing that says which.
    #[error(
        "several images could be meant, name one by :<tag> or @<digest>; there is {}",
        Listing(images)
    )]
    Ambiguous {
        /// Name and digest of each.
        images: Vec<String>,
    },
}
