//! Finds the image for a platform, starting from the document that a reference names.

use std::fmt;

use tracing::{debug, info};

use super::config::Config;
use super::local_image::ReferenceTarget;
use super::manifest::{Descriptor, Document, Index, IndexEntry, Manifest, ManifestError};
use super::platform::OTHER_ARCHITECTURE;
use super::{BlobRef, Digest, Image, ImageError, Layer, ListedImage, Platform, RawDocument, Source};

/// Limit on nesting of indexes.
const MAX_DEPTH: usize = 4;

/// Limit on entries of indexes that are followed in search of an image: nested indexes multiply.
const MAX_DOCUMENTS: usize = 100;

/// Called with the layers of the image before its config is read.
pub(super) type OnLayers<'a> = dyn FnMut(&[BlobRef]) -> Result<(), ImageError> + 'a;

/// Finds the image for a platform.
pub(super) fn resolve(source: &Source, wanted: &Platform, on_layers: &mut OnLayers<'_>) -> Result<Image, ImageError> {
    let mut search = PlatformSearch {
        source,
        wanted,
        on_layers,
        available: Vec::new(),
        first_skipped: None,
        followed: 0,
        next_match_is_final: true,
    };
    let found = match source.target()? {
        ReferenceTarget::Document(document) => search.search_document(document, None, 0)?,
        ReferenceTarget::Candidates { images, ambiguous } => search.nearest_candidate(&images, ambiguous)?,
        ReferenceTarget::Layer(layer) => {
            info!(digest = %layer.digest, platform = %wanted, "uses a layer as the whole image");
            return Ok(image_of_layer(layer, source, wanted));
        }
    };
    match found {
        Some(PlatformMatch { image, .. }) => {
            let (layers, reference) = (image.layers.len(), &image.resolved_ref);
            info!(reference, platform = %image.platform, layers, "found the image");
            Ok(image)
        }
        // Nothing else was found, so the reference means this entry.
        None if let Some(error) = search.first_skipped.take_if(|_| search.available.is_empty()) => Err(error),
        None => Err(ImageError::NoPlatform {
            wanted: Box::new(wanted.clone()),
            available: search.available,
        }),
    }
}

/// Lists the images that a reference names.
pub(super) fn list_images(source: &Source) -> Result<Vec<ListedImage>, ImageError> {
    let entries = match source.target()? {
        ReferenceTarget::Candidates { images, .. } => images,
        ReferenceTarget::Layer(Layer { digest, size, .. }) => {
            let platform = None;
            return Ok(vec![ListedImage { platform, digest, size }]);
        }
        ReferenceTarget::Document(RawDocument {
            digest,
            media_type,
            json,
            platform,
        }) => {
            let unusable = |error| ImageError::document(&digest, error);
            match Document::parse(&json, &media_type).map_err(unusable)? {
                Document::Index(index) => index.manifests,
                Document::Manifest(manifest) => {
                    manifest.check_may_be_image().map_err(unusable)?;
                    let size = json.len() as u64;
                    let config = manifest.read_config(&source.config(&manifest.config)?);
                    let config = config.map_err(unusable)?;
                    // The host's platform only fills parts that the config lacks, and a config that
                    // lacks one is filtered out below.
                    let named = config.platform(&Platform::host()).ok();
                    let platform = platform.or(named.filter(|_| config.names_platform()));
                    return Ok(vec![ListedImage { platform, digest, size }]);
                }
            }
        }
    };
    let listed = |entry: &IndexEntry| {
        let descriptor = entry.descriptor().ok()?;
        Some(ListedImage {
            platform: entry.platform().ok()?.cloned(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
        })
    };
    let images = entries.iter().filter(|entry| entry.may_be_image());
    Ok(images.filter_map(listed).collect())
}

/// Reads the image of an entry that [`list_images`] returned.
pub(super) fn resolve_listed(source: &Source, listed: &ListedImage) -> Result<Image, ImageError> {
    let not_listed = || ImageError::NotListed {
        digest: listed.digest.clone(),
    };
    let is_listed = |entry: &&IndexEntry| {
        let platform = entry
            .platform()
            .is_ok_and(|platform| platform == listed.platform.as_ref());
        entry.may_be_image() && platform && entry.digest() == Some(&listed.digest)
    };
    let follow_entry = |entries: &[IndexEntry]| {
        let entry = entries.iter().find(is_listed).ok_or_else(not_listed)?;
        let unusable = |error| ImageError::document(&listed.digest, error);
        let fetched = source.manifest(entry.descriptor().map_err(unusable)?)?;
        match Document::parse(&fetched.json, &fetched.media_type).map_err(unusable)? {
            Document::Index(_) => Err(unusable(ManifestError::IndexInIndex)),
            Document::Manifest(manifest) => Ok((manifest, listed.platform.clone())),
        }
    };
    let (manifest, platform) = match source.target()? {
        ReferenceTarget::Candidates { images, .. } => follow_entry(&images)?,
        ReferenceTarget::Layer(layer) if layer.digest == listed.digest => {
            return Ok(image_of_layer(layer, source, &Platform::host()));
        }
        ReferenceTarget::Layer(_) => return Err(not_listed()),
        ReferenceTarget::Document(root) => {
            let unusable = |error| ImageError::document(&root.digest, error);
            match Document::parse(&root.json, &root.media_type).map_err(unusable)? {
                Document::Index(index) => follow_entry(&index.manifests)?,
                Document::Manifest(manifest) if root.digest == listed.digest => (manifest, root.platform),
                Document::Manifest(_) => return Err(not_listed()),
            }
        }
    };
    check_may_be_image(&listed.digest, &manifest)?;
    ImageDocuments::read(source, listed.digest.clone(), *manifest, platform, &Platform::host())?.into_image(source)
}

/// Limit on platforms in an error: an untrusted index can have any number.
const MAX_LISTED: usize = 1000;

/// Distance of an image whose platform neither an index nor its config names. All others are
/// nearer.
const UNNAMED_PLATFORM: u32 = u32::MAX;

/// An image, and the distance of its platform from the one that is wanted.
struct PlatformMatch {
    distance: u32,
    image: Image,
}

/// A search for the image for a platform, through nested indexes.
struct PlatformSearch<'a> {
    source: &'a Source,
    wanted: &'a Platform,
    on_layers: &'a mut OnLayers<'a>,
    /// Platforms of other images, without repetition, up to [`MAX_LISTED`].
    available: Vec<Platform>,
    /// Error of the first entry that was skipped because it cannot be used.
    first_skipped: Option<ImageError>,
    /// Entries that were followed.
    followed: usize,
    /// Set while the next match ends the search, so that its layers may be downloaded at once.
    next_match_is_final: bool,
}

impl PlatformSearch<'_> {
    /// Searches an index, or takes a manifest. `listed` is the platform in the entry that led here.
    fn search_document(
        &mut self,
        document: RawDocument,
        listed: Option<Platform>,
        depth: usize,
    ) -> Result<Option<PlatformMatch>, ImageError> {
        let RawDocument {
            digest,
            media_type,
            json,
            platform,
        } = document;
        match Document::parse(&json, &media_type) {
            Ok(Document::Index(index)) => self.search_index(&digest, &index, depth),
            Ok(Document::Manifest(manifest)) => self.match_manifest(digest, *manifest, listed.or(platform)),
            Err(error) => Err(ImageError::document(digest, error)),
        }
    }

    /// Finds the image of an index that is nearest to the platform. Of equally near entries, the
    /// first wins, but one with a valid descriptor precedes one without.
    ///
    /// Follows entries without a platform only if no other entry is for a level of the same
    /// architecture.
    fn search_index(
        &mut self,
        digest: &Digest,
        index: &Index,
        depth: usize,
    ) -> Result<Option<PlatformMatch>, ImageError> {
        if depth == MAX_DEPTH {
            return Err(ImageError::document(digest, ManifestError::TooDeep { max: MAX_DEPTH }));
        }
        let mut nearest: Option<((u32, bool), &IndexEntry, &Platform)> = None;
        let mut unlisted = Vec::new();
        for entry in index.manifests.iter().filter(|entry| entry.may_be_image()) {
            let platform = match entry.platform() {
                Ok(Some(platform)) => platform,
                Ok(None) => {
                    unlisted.push(entry);
                    continue;
                }
                Err(error) => {
                    self.skip(ImageError::document(digest, error));
                    continue;
                }
            };
            let Some(distance) = self.wanted.distance(platform) else {
                debug!(digest = entry.digest().map(display), %platform, "skipped: another platform");
                self.record_platform(platform);
                continue;
            };
            debug!(digest = entry.digest().map(display), %platform, distance, "matches the platform");
            let order = (distance, entry.digest().is_none());
            if nearest.is_none_or(|(nearest, ..)| order < nearest) {
                nearest = Some((order, entry, platform));
            }
        }
        let distance = nearest.map(|((distance, _), ..)| distance);
        if distance.is_none_or(|distance| distance >= OTHER_ARCHITECTURE) {
            let found = self.nearest_without_platform(digest, &unlisted, depth + 1)?;
            if found
                .as_ref()
                .is_some_and(|found| distance.is_none_or(|distance| found.distance < distance))
            {
                return Ok(found);
            }
        }
        let Some((_, entry, platform)) = nearest else {
            return Ok(None);
        };
        self.follow_entry(digest, entry, Some(platform), depth + 1)
    }

    /// Finds the nearest image among entries without a platform, by their configs. Of equally near
    /// images, the first wins.
    fn nearest_without_platform(
        &mut self,
        index: &Digest,
        entries: &[&IndexEntry],
        depth: usize,
    ) -> Result<Option<PlatformMatch>, ImageError> {
        let was_final = std::mem::replace(&mut self.next_match_is_final, false);
        let mut nearest: Option<PlatformMatch> = None;
        for entry in entries {
            let Some(found) = self.try_follow_entry(index, entry, None, depth)? else {
                continue;
            };
            let is_exact = found.distance == 0;
            if nearest.as_ref().is_none_or(|nearest| found.distance < nearest.distance) {
                nearest = Some(found);
            }
            if is_exact {
                break;
            }
        }
        self.next_match_is_final = was_final;
        Ok(nearest)
    }

    /// Finds the nearest of several images with the same name. Returns `ambiguous` if two different
    /// images are equally near.
    fn nearest_candidate(
        &mut self,
        entries: &[IndexEntry],
        ambiguous: ImageError,
    ) -> Result<Option<PlatformMatch>, ImageError> {
        const INDEX: &str = "index.json";
        self.next_match_is_final = false;
        let mut nearest: Vec<PlatformMatch> = Vec::new();
        for entry in entries {
            let listed = match entry.platform() {
                Ok(listed) => listed,
                Err(error) => {
                    self.skip(ImageError::document(INDEX, error));
                    continue;
                }
            };
            if let Some(platform) = listed.filter(|platform| self.wanted.distance(platform).is_none()) {
                self.record_platform(platform);
                continue;
            }
            let Some(found) = self.try_follow_entry(INDEX, entry, listed, 1)? else {
                continue;
            };
            nearest.retain(|other| other.distance <= found.distance);
            if nearest.iter().all(|other| other.distance == found.distance) {
                nearest.push(found);
            }
        }
        let mut nearest = nearest.into_iter();
        let first = nearest.next();
        if nearest.any(|other| {
            first
                .as_ref()
                .is_some_and(|first| first.image.digest != other.image.digest)
        }) {
            return Err(ambiguous);
        }
        Ok(first)
    }

    /// Reads the document of an entry, and searches it.
    fn follow_entry(
        &mut self,
        index: impl fmt::Display,
        entry: &IndexEntry,
        listed: Option<&Platform>,
        depth: usize,
    ) -> Result<Option<PlatformMatch>, ImageError> {
        let descriptor = entry.descriptor().map_err(|error| ImageError::document(index, error))?;
        debug!(digest = %descriptor.digest, platform = listed.map(display), "following an entry of an index");
        self.followed += 1;
        if self.followed > MAX_DOCUMENTS {
            let error = ManifestError::TooManyDocuments { max: MAX_DOCUMENTS };
            return Err(ImageError::document(&descriptor.digest, error));
        }
        let fetched = self.source.manifest(descriptor)?;
        self.search_document(fetched, listed.cloned(), depth)
    }

    /// Follows an entry that may be for another platform, or not an image. Skips documents that are
    /// invalid, unless the entry is listed for the platform, and artifacts in any case.
    fn try_follow_entry(
        &mut self,
        index: impl fmt::Display,
        entry: &IndexEntry,
        listed: Option<&Platform>,
        depth: usize,
    ) -> Result<Option<PlatformMatch>, ImageError> {
        match self.follow_entry(index, entry, listed, depth) {
            Err(
                error @ ImageError::Document {
                    source: ManifestError::TooDeep { .. } | ManifestError::TooManyDocuments { .. },
                    ..
                },
            ) => Err(error),
            Err(ImageError::Document { document, source })
                if listed.is_none() || matches!(source, ManifestError::NotAnImage { .. }) =>
            {
                self.skip(ImageError::Document { document, source });
                Ok(None)
            }
            found => found,
        }
    }

    /// Records that an entry was skipped because it cannot be used.
    fn skip(&mut self, error: ImageError) {
        debug!(why = %error, "skipped: cannot be used");
        self.first_skipped.get_or_insert(error);
    }

    /// Returns the image of a manifest, if it is for the platform.
    fn match_manifest(
        &mut self,
        digest: Digest,
        manifest: Manifest,
        listed: Option<Platform>,
    ) -> Result<Option<PlatformMatch>, ImageError> {
        check_may_be_image(&digest, &manifest)?;
        if self.next_match_is_final && manifest.has_image_config_type() {
            (self.on_layers)(&manifest.layers.iter().map(Descriptor::blob_ref).collect::<Vec<_>>())?;
        }
        let documents = ImageDocuments::read(self.source, digest, manifest, listed, self.wanted)?;
        let Some(distance) = self.wanted.distance(&documents.platform) else {
            let (digest, platform) = (&documents.digest, &documents.platform);
            debug!(%digest, %platform, "skipped: another platform");
            self.record_platform(&documents.platform);
            return Ok(None);
        };
        Ok(Some(PlatformMatch {
            distance: if documents.platform_named {
                distance
            } else {
                UNNAMED_PLATFORM
            },
            image: documents.into_image(self.source)?,
        }))
    }

    /// Records the platform of another image, for an error.
    fn record_platform(&mut self, platform: &Platform) {
        if self.available.len() < MAX_LISTED && !self.available.contains(platform) {
            self.available.push(platform.clone());
        }
    }
}

/// Checks that a manifest can be that of an image.
fn check_may_be_image(digest: &Digest, manifest: &Manifest) -> Result<(), ImageError> {
    let may_be = manifest.check_may_be_image();
    may_be.map_err(|error| ImageError::document(digest, error))
}

/// The manifest and the config of an image, and its platform.
struct ImageDocuments {
    digest: Digest,
    manifest: Manifest,
    config: Config,
    platform: Platform,
    /// Set if an index or the config names the platform.
    platform_named: bool,
    /// Platform in the config, if it differs from the listed one.
    config_platform: Option<String>,
}

impl ImageDocuments {
    /// Reads the config of a manifest. The platform is the one that an index lists; otherwise the
    /// one in the config, completed from `fallback`.
    fn read(
        source: &Source,
        digest: Digest,
        manifest: Manifest,
        listed: Option<Platform>,
        fallback: &Platform,
    ) -> Result<Self, ImageError> {
        let config = manifest.read_config(&source.config(&manifest.config)?);
        let unusable = |error| match error {
            ManifestError::NotAnImage { .. } => ImageError::document(&digest, error),
            error => ImageError::document(&manifest.config.digest, error),
        };
        let config = config.map_err(unusable)?;
        let platform_named = listed.is_some() || config.names_platform();
        let config_platform = listed.as_ref().and_then(|listed| config.conflicting_platform(listed));
        let platform = match listed {
            Some(listed) => listed,
            None => config.platform(fallback).map_err(unusable)?,
        };
        Ok(Self {
            digest,
            manifest,
            config,
            platform,
            platform_named,
            config_platform,
        })
    }

    /// Adds the layers.
    fn into_image(self, source: &Source) -> Result<Image, ImageError> {
        let Self {
            digest,
            manifest,
            config,
            platform,
            config_platform,
            ..
        } = self;
        let layers = pair_layers(manifest, &config).map_err(|error| ImageError::document(&digest, error))?;
        Ok(Image {
            resolved_ref: source.reference.pinned(&digest).to_string(),
            digest,
            platform,
            config_platform,
            config,
            layers,
        })
    }
}

/// Returns the image of a layer without manifest and config, which fits any platform.
fn image_of_layer(layer: Layer, source: &Source, platform: &Platform) -> Image {
    Image {
        resolved_ref: source.reference.pinned(&layer.digest).to_string(),
        digest: layer.digest.clone(),
        platform: platform.clone(),
        config_platform: None,
        config: Config::for_single_layer(platform, layer.diff_id.clone()),
        layers: vec![layer],
    }
}

/// Pairs the layers of a manifest with the diff IDs in the config.
pub(super) fn pair_layers(manifest: Manifest, config: &Config) -> Result<Vec<Layer>, ManifestError> {
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
            cached_tar: None,
            digest,
            size,
            media_type,
            diff_id: diff_id.clone(),
        }
    };
    Ok(manifest.layers.into_iter().zip(diff_ids).map(layer).collect())
}
