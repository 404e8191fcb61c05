//! A plain tar of a root file system, compressed or not, as an image of one layer that says nothing of itself.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::archive::ArchiveError;
use super::blob::BlobBytes;
use super::digest::{Algorithm, Digest, VerifyingReader};
use super::error::ImageError;
use super::file_range::{FileError, FileRange};
use super::image::Layer;
use super::reference::{ImageSelector, LocalReference};
use super::source::{LocalImage, ReferenceTarget};
use super::spool::Spool;
use layer::{Compression, decode};

/// The path that means standard input.
const STANDARD_INPUT: &str = "-";

/// A tar whose digest is known.
pub(super) struct Tarball {
    path: PathBuf,
    range: FileRange,
    digest: Digest,
    diff_id: Digest,
}

impl Tarball {
    /// Reads a tar once, to know its digest. Standard input is kept in a file without a name in `spool`.
    pub(super) fn open(reference: &LocalReference, spool: &Spool) -> Result<Self, ImageError> {
        let is_input = reference.path.as_os_str() == STANDARD_INPUT;
        // What errors call it.
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
        let read = |source| FileError::Read {
            path: path.to_owned(),
            source,
        };
        let whole = || spool.cancellable(range.clone());
        let digest = match &reference.selector {
            Some(ImageSelector::Digest(pinned)) => {
                let mut whole = VerifyingReader::new(whole(), pinned.clone(), None);
                whole.drain().map_err(read)?;
                whole.finish().map_err(|source| ImageError::content(pinned, source))?;
                pinned.clone()
            }
            _ => Digest::of_reader(Algorithm::Sha256, whole()).map_err(read)?,
        };
        let decoder = decode(BufReader::new(whole()), "").map_err(|source| ArchiveError::Decode {
            path: path.to_owned(),
            source,
        })?;
        let diff_id = match decoder.compression() {
            Compression::None => digest.clone(),
            _ => Digest::of_reader(Algorithm::Sha256, spool.cancellable(decoder)).map_err(read)?,
        };
        // A tar has an end, and who gives nothing has failed.
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
