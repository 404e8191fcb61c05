//! Reads an image from a directory that skopeo or podman wrote with the transport `dir:`
//! (containers-transports(5)).

use std::path::{Path, PathBuf};

use super::blob::BlobBytes;
use super::digest::{Algorithm, Digest, DigestError};
use super::error::ImageError;
use super::file_range::{FileError, FileRange};
use super::local_image::{LocalImage, ReferenceTarget};
use super::manifest::RawDocument;
use super::reference::{ImageSelector, LocalReference};

/// A directory with a manifest, and blobs in files named by their hashes.
pub(super) struct SkopeoDirectory {
    path: PathBuf,
    /// Digest in the reference.
    pinned: Option<Digest>,
}

impl SkopeoDirectory {
    pub(super) fn new(reference: &LocalReference) -> Self {
        let pinned = match &reference.selector {
            Some(ImageSelector::Digest(digest)) => Some(digest.clone()),
            _ => None,
        };
        Self {
            path: reference.path.clone(),
            pinned,
        }
    }

    /// Returns the path of a blob: its hash, after the algorithm unless that is SHA-256.
    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join(match digest.algorithm() {
            Algorithm::Sha256 => digest.hex().to_owned(),
            other => format!("{}-{}", other.name(), digest.hex()),
        })
    }
}

/// Reads a document.
fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    FileRange::open(path)?.read_document(path)
}

impl LocalImage for SkopeoDirectory {
    /// Returns `manifest.json`, or the manifest that the pinned digest names, if the directory
    /// holds several.
    fn target(&self) -> Result<ReferenceTarget, ImageError> {
        let json = read(&self.path.join("manifest.json"))?;
        let (digest, json) = match &self.pinned {
            None => (Digest::of(Algorithm::Sha256, &json), json),
            Some(digest) if digest.verify(&json, None).is_ok() => (digest.clone(), json),
            Some(digest) => match self.document(digest, None) {
                // The directory holds one manifest, with another digest: report that, not a missing
                // file.
                Err(ImageError::File(FileError::Read { .. })) => {
                    let error = digest.verify(&json, None).expect_err("its digest does not match");
                    return Err(ImageError::content(digest, error));
                }
                document => (digest.clone(), document?),
            },
        };
        Ok(ReferenceTarget::Document(RawDocument {
            digest,
            media_type: String::new(),
            json,
            platform: None,
        }))
    }

    fn document(&self, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>, ImageError> {
        let blob = self.blob_path(digest);
        let manifest = blob.with_extension("manifest.json");
        let content = read(if manifest.exists() { &manifest } else { &blob })?;
        digest
            .verify(&content, size)
            .map_err(|source| ImageError::content(digest, source))?;
        Ok(content)
    }

    fn blob(&self, digest: &Digest, size: u64) -> Result<BlobBytes, ImageError> {
        let range = FileRange::open(&self.blob_path(digest))?;
        if range.len() != size {
            let actual = range.len();
            return Err(ImageError::content(
                digest,
                DigestError::SizeMismatch { expected: size, actual },
            ));
        }
        Ok(BlobBytes::FileRange(range))
    }
}
