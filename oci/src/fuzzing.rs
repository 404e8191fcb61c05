//! Exposes private parsers to the targets in `fuzz/`.

use std::path::Path;

use super::auth::{self, AuthError};
use super::manifest::{Descriptor, Document};
use super::resolve::pair_layers;
use super::{Image, Platform, RegistryReference};

pub use super::registry::fuzzing::{challenge, refusal};

/// Parses a manifest and its config into an image, if they are valid. Reads the entries of an
/// index.
#[must_use]
pub fn image(announced: &str, document: &[u8], config: &[u8]) -> Option<Image> {
    let manifest = match Document::parse(document, announced).ok()? {
        Document::Index(index) => {
            for entry in &index.manifests {
                let _ = (
                    entry.descriptor().and_then(Descriptor::check_len),
                    entry.platform(),
                    entry.may_be_image(),
                    entry.ref_name(),
                );
            }
            return None;
        }
        Document::Manifest(manifest) => *manifest,
    };
    manifest.check_may_be_image().ok()?;
    let config = manifest.read_config(config).ok()?;
    let fallback = Platform::new("linux", "amd64", None).ok()?;
    Some(Image {
        resolved_ref: String::new(),
        digest: manifest.config.digest.clone(),
        platform: config.platform(&fallback).ok()?,
        config_platform: config.conflicting_platform(&fallback),
        layers: pair_layers(manifest, &config).ok()?,
        config,
    })
}

/// Returns whether the JSON of a credentials file has credentials or a helper for an image.
///
/// # Errors
///
/// Those of a file with these bytes.
pub fn credentials(json: &[u8], image: &RegistryReference) -> Result<bool, AuthError> {
    let path = Path::new("auth.json");
    let file = auth::parse(json, path)?;
    let helper = file.helper(image, path);
    Ok(file.find(path, image)?.is_some() || helper.is_some())
}
