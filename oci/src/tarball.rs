//! Reads a tar of a root file system, compressed or not, as an image with one layer and an empty
//! config.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::archive::ArchiveError;
use super::blob::BlobBytes;
use super::digest::{Algorithm, Digest, VerifyingReader};
use super::error::ImageError;
use super::file_range::{FileError, FileRange};
use super::image::Layer;
use super::local_image::{LocalImage, ReferenceTarget};
use super::reference::{ImageSelector, LocalReference};
use super::spool::Spool;
use layer::{Compression, decode};

/// Path in the reference that means standard input.
const STANDARD_INPUT: &str = "-";

/// A tar of a root file system, and its digests.
pub(super) struct Tarball {
    path: PathBuf,
    range: FileRange,
    /// Digest of the file, compressed or not.
    digest: Digest,
    diff_id: Digest,
}

impl Tarball {
    /// Reads a tar to its end to compute its digests. Spools standard input first.
    pub(super) fn open(reference: &LocalReference, spool: &Spool) -> Result<Self, ImageError> {
        let is_input = reference.path.as_os_str() == STANDARD_INPUT;
        // Path as errors show it.
        let path = if is_input {
            Path::new("standard input")
        } else {
            &reference.path
        };
        let range = if is_input {
            spool.spool_input(path)?
        } else {
            FileRange::open(path)?
        };
        let read_failed = |source| FileError::Read {
            path: path.to_owned(),
            source,
        };
        let whole = || spool.cancellable(range.clone());
        let digest = match &reference.selector {
            Some(ImageSelector::Digest(pinned)) => {
                let mut reader = VerifyingReader::new(whole(), pinned.clone(), None);
                reader.drain().map_err(read_failed)?;
                reader.finish().map_err(|source| ImageError::content(pinned, source))?;
                pinned.clone()
            }
            _ => Digest::of_reader(Algorithm::Sha256, whole()).map_err(read_failed)?,
        };
        let decoder = decode(BufReader::new(whole()), "").map_err(|source| ArchiveError::Decode {
            path: path.to_owned(),
            source,
        })?;
        let diff_id = match decoder.compression() {
            Compression::None => digest.clone(),
            _ => Digest::of_reader(Algorithm::Sha256, spool.cancellable(decoder)).map_err(read_failed)?,
        };
        // Even an empty tar has end-of-archive blocks, so its writer has failed.
        if range.len() == 0 || diff_id == Digest::of(Algorithm::Sha256, b"") {
            return Err(ArchiveError::Empty { path: path.to_owned() }.into());
        }
        Ok(Self {
            path: path.to_owned(),
            range,
            digest,
            diff_id,
        })
    }
}

impl LocalImage for Tarball {
    fn target(&self) -> Result<ReferenceTarget, ImageError> {
        Ok(ReferenceTarget::Layer(Layer {
            cached_tar: None,
            digest: self.digest.clone(),
            size: self.range.len(),
            media_type: String::new(),
            diff_id: self.diff_id.clone(),
        }))
    }

    fn document(&self, digest: &Digest, _size: Option<u64>) -> Result<Vec<u8>, ImageError> {
        let (path, name) = (self.path.clone(), digest.to_string());
        Err(ArchiveError::Missing { path, name }.into())
    }

    fn blob(&self, _digest: &Digest, _size: u64) -> Result<BlobBytes, ImageError> {
        Ok(BlobBytes::FileRange(self.range.clone()))
    }
}
