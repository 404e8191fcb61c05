//! A plain tar of a root file system, compressed or not, as an image of one layer that says nothing of itself.

use std::io::BufReader;
use std::path::Path;

use super::archive::ArchiveError;
use super::config::Config;
use super::digest::{Algorithm, Digest, Verified};
use super::error::ImageError;
use super::reference::{Choice, LocalReference};
use super::scratch::Scratch;
use super::section::{FileError, Section};
use super::{Image, Layer, ListedImage, Platform};
use layer::{Compression, decode};

/// The path that means standard input.
const STANDARD_INPUT: &str = "-";

/// A tar whose digest is known.
pub(super) struct Tarball {
    section: Section,
    digest: Digest,
    diff_id: Digest,
}

impl Tarball {
    /// Reads a tar once, to know its digest. Standard input is kept in a file without a name in `scratch`.
    pub(super) fn open(reference: &LocalReference, scratch: &Scratch) -> Result<Self, ImageError> {
        let is_input = reference.path.as_os_str() == STANDARD_INPUT;
        // What errors call it.
        let path = if is_input {
            Path::new("standard input")
        } else {
            &reference.path
        };
        let section = if is_input {
            scratch.spool_input(path)?
        } else {
            Section::open(path)?
        };
        let read = |source| FileError::Read {
            path: path.to_owned(),
            source,
        };
        let whole = || scratch.cancellable(section.clone());
        let digest = match &reference.choice {
            Some(Choice::Digest(pinned)) => {
                let mut whole = Verified::new(whole(), pinned.clone(), None);
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
            _ => Digest::of_reader(Algorithm::Sha256, scratch.cancellable(decoder)).map_err(read)?,
        };
        // A tar has an end, and who gives nothing has failed.
        if section.len() == 0 || diff_id == Digest::of(Algorithm::Sha256, b"") {
            return Err(ArchiveError::Empty { path: path.to_owned() }.into());
        }
        Ok(Self {
            section,
            digest,
            diff_id,
        })
    }

    /// The image, which is for whatever platform it is taken for.
    pub(super) fn image(&self, reference: &LocalReference, platform: &Platform) -> Image {
        let layer = Layer {
            kept: None,
            digest: self.digest.clone(),
            size: self.section.len(),
            media_type: String::new(),
            diff_id: self.diff_id.clone(),
        };
        Image {
            resolved_ref: reference.pinned(&self.digest).to_string(),
            digest: self.digest.clone(),
            platform: platform.clone(),
            config_platform: None,
            config: Config::of_layer(platform, self.diff_id.clone()),
            layers: vec![layer],
        }
    }

    /// The image, as an index would list it.
    pub(super) fn listed(&self) -> ListedImage {
        ListedImage {
            platform: None,
            digest: self.digest.clone(),
            size: self.section.len(),
        }
    }

    pub(super) fn blob(&self) -> Section {
        self.section.clone()
    }
}
