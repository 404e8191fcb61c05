//! OCI image layouts, in a directory or a tar: image-spec image-layout.md.

use std::io;
use std::path::PathBuf;

use serde::Deserialize;

use super::archive::Archive;
use super::digest::{Digest, DigestError};
use super::error::{ImageError, Listing};
use super::manifest::{Descriptor, Document, ManifestError};
use super::reference::{LayoutReference, Version};
use super::scratch::Scratch;
use super::section::{FileError, Section};
use super::{Bytes, Fetched, Local};

/// An opened image layout, and which of its images is meant.
pub(super) struct Layout {
    files: Files,
    version: Option<Version>,
}

/// Where the files of a layout are.
enum Files {
    Directory(PathBuf),
    Archive(Archive),
}

impl Files {
    /// Opens a regular file.
    fn open(&self, name: &str) -> Result<Section, FileError> {
        let path = self.path(name);
        match self {
            Self::Directory(_) => Section::open(&path),
            Self::Archive(archive) => archive.get(name).ok_or_else(|| FileError::Read {
                path,
                source: io::ErrorKind::NotFound.into(),
            }),
        }
    }

    /// What a file is called in errors.
    fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Directory(directory) => directory.join(name),
            Self::Archive(archive) => archive.path().join(name),
        }
    }
}

/// Content of the `oci-layout` file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Layout {
    /// Opens a layout; its `oci-layout` file must say that it is one. An archive is decompressed in `scratch`, if need
    /// be.
    pub(super) fn open(reference: &LayoutReference, scratch: &Scratch) -> Result<Self, ImageError> {
        let LayoutReference {
            directory,
            is_archive,
            version,
        } = reference.clone();
        let files = if is_archive {
            Files::Archive(Archive::open(&directory, scratch)?)
        } else {
            Files::Directory(directory.clone())
        };
        let path = files.path("oci-layout");
        let marker = match files.open("oci-layout") {
            Err(FileError::Read { source, .. }) if is_absence(&source) => {
                return Err(LayoutError::NoLayout { directory }.into());
            }
            file => file?.document(&path)?,
        };
        let marker: Marker = serde_json::from_slice(&marker)
            .map_err(|source| ImageError::document(path.display(), ManifestError::Json(source)))?;
        if !marker.image_layout_version.starts_with("1.") {
            return Err(LayoutError::Version {
                version: marker.image_layout_version,
            }
            .into());
        }
        Ok(Self { files, version })
    }

    /// What `index.json` lists under the tag that the reference names, or as the only image.
    fn listed(&self) -> Result<Descriptor, ImageError> {
        let path = self.files.path("index.json");
        let index = self.files.open("index.json")?.document(&path)?;
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
        let chosen = choose(&images, tag)?.clone();
        chosen
            .check_len()
            .map_err(|error| ImageError::document(&chosen.digest, error))?;
        Ok(chosen)
    }

    fn open_blob(&self, digest: &Digest) -> Result<(Section, PathBuf), ImageError> {
        let name = format!("blobs/{}/{}", digest.algorithm().name(), digest.hex());
        match self.files.open(&name) {
            Ok(file) => Ok((file, self.files.path(&name))),
            Err(FileError::Read { source, path }) if is_absence(&source) => {
                let digest = digest.clone();
                Err(LayoutError::MissingBlob { digest, path }.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Local for Layout {
    fn root(&self) -> Result<Fetched, ImageError> {
        if let Some(Version::Digest(digest)) = &self.version {
            return Ok(Fetched {
                digest: digest.clone(),
                media_type: String::new(),
                json: self.document(digest, None)?,
            });
        }
        let Descriptor {
            digest,
            size,
            media_type,
            ..
        } = self.listed()?;
        Ok(Fetched {
            json: self.document(&digest, Some(size))?,
            digest,
            media_type,
        })
    }

    fn document(&self, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>, ImageError> {
        let (file, path) = self.open_blob(digest)?;
        let content = file.document(&path)?;
        digest
            .check(&content, size)
            .map_err(|source| ImageError::content(digest, source))?;
        Ok(content)
    }

    fn blob(&self, digest: &Digest, size: u64) -> Result<Bytes, ImageError> {
        let (file, _) = self.open_blob(digest)?;
        let actual = file.len();
        if actual != size {
            return Err(ImageError::content(
                digest,
                DigestError::SizeMismatch { expected: size, actual },
            ));
        }
        Ok(Bytes::Section(file))
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

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// An image layout that does not hold the image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The directory or archive does not exist or has no `oci-layout` file.
    #[error("{} is no OCI image layout: it has no file oci-layout", .directory.display())]
    NoLayout {
        /// The directory, or the archive.
        directory: PathBuf,
    },
    /// A layout of a version other than 1.
    #[error("OCI image layout version {version:?}: 1.0.0 is the one that is supported")]
    Version {
        /// The `imageLayoutVersion`.
        version: String,
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
