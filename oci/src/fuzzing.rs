//! Ways into the parsers of documents, for the targets in `fuzz/`.

use std::path::Path;

use super::auth::{self, AuthError};
use super::manifest::{Descriptor, Document};
use super::resolve::pair_layers;
use super::{Image, Platform, RegistryReference};

pub use super::registry::fuzzing::{challenge, refusal};

/// The image that a manifest and a config describe, if they do; of an index, the entries are looked at.
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

/// Looks for the credentials of an image in the JSON of a file.
///
/// # Errors
///
/// As for a file with these bytes.
pub fn credentials(json: &[u8], image: &RegistryReference) -> Result<bool, AuthError> {
    let path = Path::new("auth.json");
    let file = auth::parse(json, path)?;
    let helper = file.helper(image, path);
    Ok(file.find(path, image)?.is_some() || helper.is_some())
}
