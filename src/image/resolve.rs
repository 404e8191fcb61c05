//! From the document that a reference means to the image for a platform.

use super::config::Config;
use super::manifest::{Descriptor, Document, Index, Manifest, ManifestError};
use super::{BlobRef, Digest, Fetched, Image, ImageError, Layer, Platform, Source};

/// How deep indexes may be nested.
const MAX_DEPTH: usize = 4;

/// How many entries of indexes are followed in search of an image: indexes in an index multiply.
const MAX_DOCUMENTS: usize = 100;

/// Told which layers an image has, before its config is asked for.
pub(super) type Announce<'a> = dyn FnMut(&[BlobRef]) -> Result<(), ImageError> + 'a;

/// Finds the image for a platform.
pub(super) fn resolve(source: &Source, wanted: &Platform, announce: &mut Announce<'_>) -> Result<Image, ImageError> {
    let mut search = Search {
        source,
        wanted,
        announce,
        available: Vec::new(),
        followed: 0,
    };
    match search.document(source.root()?, None, 0)? {
        Some(image) => Ok(image),
        None => Err(ImageError::NoPlatform {
            wanted: Box::new(wanted.clone()),
            available: search.available,
        }),
    }
}

/// How many platforms an error can list: indexes of a stranger may have any number.
const MAX_LISTED: usize = 1000;

struct Search<'a> {
    source: &'a Source,
    wanted: &'a Platform,
    announce: &'a mut Announce<'a>,
    /// The first platforms that were met, without repetition.
    available: Vec<Platform>,
    followed: usize,
}

impl Search<'_> {
    fn document(
        &mut self,
        fetched: Fetched,
        listed: Option<Platform>,
        depth: usize,
    ) -> Result<Option<Image>, ImageError> {
        let Fetched {
            digest,
            media_type,
            json,
        } = fetched;
        match Document::parse(&json, &media_type) {
            Ok(Document::Index(index)) => self.index(&digest, &index, depth),
            Ok(Document::Manifest(manifest)) => {
                // What an index does not say a platform of is one of several to look at.
                let is_it = listed.is_some() || depth == 0;
                self.image(digest, *manifest, listed, is_it)
            }
            Err(error) => Err(ImageError::document(digest, error)),
        }
    }

    /// Takes the nearest entry that says it is for the platform, the first of equals; failing that, whatever is behind
    /// the entries that do not say what they are for, in order.
    fn index(&mut self, digest: &Digest, index: &Index, depth: usize) -> Result<Option<Image>, ImageError> {
        if depth == MAX_DEPTH {
            return Err(ImageError::document(digest, ManifestError::TooDeep { max: MAX_DEPTH }));
        }
        let mut listed = Vec::new();
        let mut unlisted = Vec::new();
        for entry in index.manifests.iter().filter(|entry| entry.may_be_image()) {
            match entry
                .platform()
                .map_err(|error| ImageError::document(digest, error.into()))?
            {
                Some(platform) => listed.push((entry, platform)),
                None => unlisted.push(entry),
            }
        }
        let distance = |platform| self.wanted.distance(platform);
        let nearest = listed
            .iter()
            .filter_map(|(entry, platform)| Some((distance(platform)?, entry, platform)));
        if let Some((_, entry, platform)) = nearest.min_by_key(|(distance, ..)| *distance) {
            return self.follow(entry, Some(platform.clone()), depth + 1);
        }
        for (_, platform) in listed {
            self.saw(platform);
        }
        for entry in unlisted {
            match self.follow(entry, None, depth + 1) {
                Ok(None)
                | Err(ImageError::Document {
                    source: ManifestError::NotAnImage { .. },
                    ..
                }) => {}
                found => return found,
            }
        }
        Ok(None)
    }

    fn follow(
        &mut self,
        entry: &Descriptor,
        listed: Option<Platform>,
        depth: usize,
    ) -> Result<Option<Image>, ImageError> {
        self.followed += 1;
        if self.followed > MAX_DOCUMENTS {
            let error = ManifestError::TooManyDocuments { max: MAX_DOCUMENTS };
            return Err(ImageError::document(&entry.digest, error));
        }
        let fetched = self.source.manifest(entry)?;
        self.document(fetched, listed, depth)
    }

    /// The image of a manifest, if it is for the platform; if `is_it`, there is no other.
    fn image(
        &mut self,
        digest: Digest,
        manifest: Manifest,
        listed: Option<Platform>,
        is_it: bool,
    ) -> Result<Option<Image>, ImageError> {
        manifest
            .check_is_image()
            .map_err(|error| ImageError::document(&digest, error))?;
        if is_it {
            (self.announce)(&manifest.layers.iter().map(Descriptor::blob_ref).collect::<Vec<_>>())?;
        }
        let unusable = |error| ImageError::document(&manifest.config.digest, error);
        let config = Config::parse(&self.source.config(&manifest.config)?).map_err(unusable)?;
        let actual = config.platform().map_err(unusable)?;
        let platform = match listed {
            Some(listed) if (&listed.os, &listed.architecture) != (&actual.os, &actual.architecture) => {
                return Err(ImageError::WrongPlatform {
                    digest,
                    listed: listed.into(),
                    actual: actual.into(),
                });
            }
            // Many configs leave out a variant that their index knows.
            Some(listed) => listed,
            None if self.wanted.distance(&actual).is_none() => {
                self.saw(actual);
                return Ok(None);
            }
            None => actual,
        };
        let layers = layers(manifest, &config).map_err(|error| ImageError::document(&digest, error))?;
        let resolved_ref = self.source.reference.pinned(&digest).to_string();
        Ok(Some(Image {
            resolved_ref,
            digest,
            platform,
            config,
            layers,
        }))
    }

    fn saw(&mut self, platform: Platform) {
        if self.available.len() < MAX_LISTED && !self.available.contains(&platform) {
            self.available.push(platform);
        }
    }
}

/// The layers of a manifest, with what the config says of them.
pub(super) fn layers(manifest: Manifest, config: &Config) -> Result<Vec<Layer>, ManifestError> {
    let diff_ids = &config.rootfs.diff_ids;
    if manifest.layers.len() != diff_ids.len() {
        return Err(ManifestError::LayerCount {
            layers: manifest.layers.len(),
            diff_ids: diff_ids.len(),
        });
    }
    let layer = |(layer, diff_id): (Descriptor, &Digest)| {
        let Descriptor {
            digest,
            size,
            media_type,
            ..
        } = layer;
        Layer {
            kept: None,
            digest,
            size,
            media_type,
            diff_id: diff_id.clone(),
        }
    };
    Ok(manifest.layers.into_iter().zip(diff_ids).map(layer).collect())
}
