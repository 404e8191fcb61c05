//! Image indexes and manifests: what image-spec's image-index.md and manifest.md say, and what real tools write.

mod error;

use std::collections::BTreeMap;

use oci_distribution::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::BlobRef;
use super::digest::Digest;
use super::platform::{Platform, PlatformError};

pub use error::ManifestError;

/// The largest index, manifest or config that is read, in bytes: the limit that distribution-spec asks registries for.
pub(super) const MAX_DOCUMENT_LEN: u64 = 4 << 20;

/// The media types that [`Document::parse`] knows.
pub(super) const DOCUMENT_MEDIA_TYPES: [&str; 4] = [
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
];

/// A reference to content: image-spec descriptor.md.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default, deserialize_with = "null_is_default")]
    annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "null_is_default")]
    artifact_type: String,
    platform: Option<DescribedPlatform>,
}

#[derive(Debug, Clone, Deserialize)]
struct DescribedPlatform {
    #[serde(default, deserialize_with = "null_is_default")]
    os: String,
    #[serde(default, deserialize_with = "null_is_default")]
    architecture: String,
    variant: Option<String>,
}

impl Descriptor {
    /// One of a manifest that no index lists.
    pub(super) fn unlisted(digest: Digest, size: u64) -> Self {
        Self {
            media_type: String::new(),
            digest,
            size,
            annotations: BTreeMap::new(),
            artifact_type: String::new(),
            platform: None,
        }
    }

    /// Refuses to read a document of this size.
    pub(super) fn check_len(&self) -> Result<(), ManifestError> {
        if self.size > MAX_DOCUMENT_LEN {
            return Err(ManifestError::TooLarge { len: self.size });
        }
        Ok(())
    }

    pub(super) fn blob_ref(&self) -> BlobRef {
        BlobRef {
            digest: self.digest.clone(),
            size: self.size,
        }
    }

    /// The name that an image layout gives to the image, usually a tag.
    pub(super) fn ref_name(&self) -> Option<&str> {
        self.annotations
            .get("org.opencontainers.image.ref.name")
            .map(String::as_str)
    }

    /// The platform that the image is for, where the descriptor says so.
    pub(super) fn platform(&self) -> Result<Option<Platform>, PlatformError> {
        match &self.platform {
            Some(platform) if !(platform.os.is_empty() && platform.architecture.is_empty()) => {
                Platform::new(&platform.os, &platform.architecture, platform.variant.as_deref()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Whether this can be an image or an index of images: no artifact, no attestation of `BuildKit`
    /// (docs/attestations/attestation-storage.md there), nothing of an unknown media type.
    pub(super) fn may_be_image(&self) -> bool {
        let is_document = self.media_type.is_empty() || Kind::of(&self.media_type).is_some();
        let has_unknown_platform = self
            .platform
            .as_ref()
            .is_some_and(|platform| platform.os == "unknown" && platform.architecture == "unknown");
        let is_attestation = has_unknown_platform || self.annotations.contains_key("vnd.docker.reference.type");
        is_document && !is_attestation && self.artifact_type.is_empty()
    }
}

/// An image index or a Docker manifest list.
#[derive(Debug, Deserialize)]
pub(super) struct Index {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) manifests: Vec<Descriptor>,
}

/// An image manifest, OCI or Docker schema 2.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) layers: Vec<Descriptor>,
    #[serde(default, deserialize_with = "null_is_default")]
    artifact_type: String,
}

impl Manifest {
    /// Refuses artifacts, which manifest.md lets carry anything under the same media type, and layers that are no tar.
    pub(super) fn check_is_image(&self) -> Result<(), ManifestError> {
        let config = self.config.media_type.as_str();
        if config != IMAGE_CONFIG_MEDIA_TYPE && config != IMAGE_DOCKER_CONFIG_MEDIA_TYPE {
            let named = if self.artifact_type.is_empty() {
                config
            } else {
                &self.artifact_type
            };
            return Err(ManifestError::NotAnImage {
                media_type: named.to_owned(),
            });
        }
        match self.layers.iter().find(|layer| !is_tar_layer(&layer.media_type)) {
            Some(Descriptor { media_type, .. }) if media_type.ends_with("+encrypted") => {
                Err(ManifestError::EncryptedLayer {
                    media_type: media_type.clone(),
                })
            }
            Some(layer) => Err(ManifestError::UnknownLayer {
                media_type: layer.media_type.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// The layer types of layer.md and of Docker. How a layer is compressed shows in its bytes, not here.
fn is_tar_layer(media_type: &str) -> bool {
    let tar = media_type
        .strip_suffix("+gzip")
        .or_else(|| media_type.strip_suffix("+zstd"))
        .unwrap_or(media_type);
    let docker_tar = tar
        .strip_suffix(".gzip")
        .or_else(|| tar.strip_suffix(".zstd"))
        .unwrap_or(tar);
    matches!(
        tar,
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.oci.image.layer.nondistributable.v1.tar"
    ) || matches!(
        docker_tar,
        "application/vnd.docker.image.rootfs.diff.tar" | "application/vnd.docker.image.rootfs.foreign.diff.tar"
    )
}

/// An index or a manifest.
#[derive(Debug)]
pub(super) enum Document {
    Index(Index),
    Manifest(Box<Manifest>),
}

/// Which of the two a media type announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Index,
    Manifest,
}

impl Kind {
    fn of(media_type: &str) -> Option<Self> {
        match media_type {
            OCI_IMAGE_INDEX_MEDIA_TYPE | IMAGE_MANIFEST_LIST_MEDIA_TYPE => Some(Self::Index),
            OCI_IMAGE_MEDIA_TYPE | IMAGE_MANIFEST_MEDIA_TYPE => Some(Self::Manifest),
            _ => None,
        }
    }
}

/// Just enough of a document to tell what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: u32,
    #[serde(default, deserialize_with = "null_is_default")]
    media_type: String,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
}

impl Document {
    /// Reads a document that was `announced` with a media type by its descriptor or by the registry.
    ///
    /// Its own words decide, for registries answer with `application/json` too and older tools write no `mediaType`;
    /// but a document that can be read as both kinds is refused, whichever was meant (CVE-2021-41190).
    pub(super) fn parse(json: &[u8], announced: &str) -> Result<Self, ManifestError> {
        let outline: Outline = serde_json::from_slice(json).map_err(ManifestError::Json)?;
        match outline.schema_version {
            2 => {}
            1 => return Err(ManifestError::Schema1),
            version => return Err(ManifestError::SchemaVersion { version }),
        }
        let has_manifest = outline.config.is_some() || outline.layers.is_some();
        let kind = match (outline.manifests.is_some(), has_manifest) {
            (true, true) => return Err(ManifestError::Ambiguous),
            (true, false) => Kind::Index,
            (false, true) => Kind::Manifest,
            (false, false) => {
                let kind = Kind::of(&outline.media_type).or_else(|| Kind::of(announced));
                kind.ok_or(ManifestError::Unrecognised {
                    media_type: outline.media_type.clone(),
                })?
            }
        };
        for media_type in [outline.media_type.as_str(), announced] {
            if Kind::of(media_type).is_some_and(|said| said != kind) {
                return Err(ManifestError::Ambiguous);
            }
        }
        if !outline.media_type.is_empty() && Kind::of(&outline.media_type).is_none() {
            return Err(ManifestError::Unrecognised {
                media_type: outline.media_type,
            });
        }
        let document = match kind {
            Kind::Index => serde_json::from_slice(json).map(Self::Index),
            Kind::Manifest => serde_json::from_slice(json).map(Self::Manifest),
        };
        document.map_err(ManifestError::Json)
    }
}

/// Go writes `null` for what is empty.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

    fn descriptor(media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", "a".repeat(64)), "size": 7})
    }

    fn manifest(config: &str, layer: &str) -> Value {
        json!({"schemaVersion": 2, "config": descriptor(config), "layers": [descriptor(layer)]})
    }

    fn parse(document: &Value, announced: &str) -> Result<Document, ManifestError> {
        Document::parse(document.to_string().as_bytes(), announced)
    }

    fn image_check(document: &Value) -> Result<(), ManifestError> {
        match parse(document, "").unwrap() {
            Document::Manifest(manifest) => manifest.check_is_image(),
            Document::Index(_) => panic!("an index"),
        }
    }

    #[test]
    fn documents_are_told_apart_with_and_without_media_types() {
        let image = manifest(IMAGE_CONFIG_MEDIA_TYPE, OCI_LAYER);
        let index = json!({"schemaVersion": 2, "manifests": [descriptor(OCI_IMAGE_MEDIA_TYPE)]});
        for announced in ["", "application/json", OCI_IMAGE_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE] {
            assert!(
                matches!(parse(&image, announced), Ok(Document::Manifest(_))),
                "{announced}"
            );
        }
        for announced in [
            "",
            "text/plain; charset=utf-8",
            OCI_IMAGE_INDEX_MEDIA_TYPE,
            IMAGE_MANIFEST_LIST_MEDIA_TYPE,
        ] {
            assert!(
                matches!(parse(&index, announced), Ok(Document::Index(_))),
                "{announced}"
            );
        }
        let empty = json!({"schemaVersion": 2, "mediaType": OCI_IMAGE_INDEX_MEDIA_TYPE, "manifests": null});
        assert!(matches!(parse(&empty, ""), Ok(Document::Index(index)) if index.manifests.is_empty()));
    }

    #[test]
    fn null_is_nothing_wherever_something_may_be_missing() {
        let mut image = manifest(IMAGE_CONFIG_MEDIA_TYPE, OCI_LAYER);
        for key in ["mediaType", "artifactType", "annotations", "subject", "manifests"] {
            image[key] = Value::Null;
        }
        for descriptor in ["/config", "/layers/0"] {
            let descriptor = image.pointer_mut(descriptor).unwrap();
            for key in ["annotations", "urls", "data", "artifactType", "platform"] {
                descriptor[key] = Value::Null;
            }
        }
        image_check(&image).unwrap();
        image["layers"] = Value::Null;
        image_check(&image).unwrap();

        let mut entry = descriptor(OCI_IMAGE_MEDIA_TYPE);
        entry["platform"] = json!({
            "os": "linux", "architecture": "amd64", "variant": null, "os.version": null, "os.features": null
        });
        let index = json!({
            "schemaVersion": 2, "manifests": [entry], "annotations": null, "subject": null, "config": null, "layers": null
        });
        let Document::Index(index) = parse(&index, "").unwrap() else {
            panic!("a manifest")
        };
        assert!(index.manifests[0].platform().unwrap().is_some());
    }

    #[test]
    fn documents_of_two_kinds_are_refused() {
        let mut both = manifest(IMAGE_CONFIG_MEDIA_TYPE, OCI_LAYER);
        assert!(matches!(
            parse(&both, OCI_IMAGE_INDEX_MEDIA_TYPE),
            Err(ManifestError::Ambiguous)
        ));
        both["mediaType"] = OCI_IMAGE_INDEX_MEDIA_TYPE.into();
        assert!(matches!(parse(&both, ""), Err(ManifestError::Ambiguous)));
        both["mediaType"] = OCI_IMAGE_MEDIA_TYPE.into();
        both["manifests"] = json!([]);
        assert!(matches!(parse(&both, ""), Err(ManifestError::Ambiguous)));
    }

    #[test]
    fn what_is_no_schema_2_document_is_refused_by_name() {
        let schema1 = json!({"schemaVersion": 1, "name": "x", "fsLayers": [], "history": []});
        assert!(matches!(parse(&schema1, ""), Err(ManifestError::Schema1)));
        let schema3 = json!({"schemaVersion": 3, "manifests": []});
        assert!(matches!(
            parse(&schema3, ""),
            Err(ManifestError::SchemaVersion { version: 3 })
        ));
        assert!(matches!(
            parse(&json!({"schemaVersion": 2}), ""),
            Err(ManifestError::Unrecognised { .. })
        ));
        assert!(matches!(
            parse(&json!({"manifests": []}), ""),
            Err(ManifestError::Json(_))
        ));
        assert!(matches!(Document::parse(b"<html>", ""), Err(ManifestError::Json(_))));
        let other = json!({"schemaVersion": 2, "mediaType": "application/vnd.other", "layers": [], "config": {}});
        assert!(
            matches!(parse(&other, ""), Err(ManifestError::Unrecognised { media_type }) if media_type == "application/vnd.other")
        );
    }

    #[test]
    fn artifacts_are_refused_by_their_own_name() {
        let chart = manifest("application/vnd.cncf.helm.config.v1+json", OCI_LAYER);
        assert!(
            matches!(image_check(&chart), Err(ManifestError::NotAnImage { media_type }) if media_type.contains("helm"))
        );
        let mut typed = manifest("application/vnd.oci.empty.v1+json", OCI_LAYER);
        typed["artifactType"] = "application/vnd.example".into();
        assert!(
            matches!(image_check(&typed), Err(ManifestError::NotAnImage { media_type }) if media_type == "application/vnd.example")
        );
    }

    #[test]
    fn only_tar_layers_are_accepted() {
        for layer in [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.diff.tar.zstd",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ] {
            image_check(&manifest(IMAGE_DOCKER_CONFIG_MEDIA_TYPE, layer)).unwrap();
        }
        let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
        let refused = image_check(&manifest(IMAGE_CONFIG_MEDIA_TYPE, encrypted));
        assert!(matches!(refused, Err(ManifestError::EncryptedLayer { media_type }) if media_type == encrypted));
        for layer in ["", "application/vnd.in-toto+json"] {
            let refused = image_check(&manifest(IMAGE_CONFIG_MEDIA_TYPE, layer));
            assert!(matches!(refused, Err(ManifestError::UnknownLayer { media_type }) if media_type == layer));
        }
    }

    #[test]
    fn attestations_and_artifacts_are_no_images_of_an_index() {
        let entry = |change: fn(&mut Value)| {
            let mut value = descriptor(OCI_IMAGE_MEDIA_TYPE);
            change(&mut value);
            serde_json::from_value::<Descriptor>(value).unwrap()
        };
        assert!(entry(|_| ()).may_be_image());
        assert!(entry(|entry| entry["annotations"] = Value::Null).may_be_image());
        assert!(entry(|entry| entry["platform"] = json!({"os": "linux", "architecture": "amd64"})).may_be_image());
        assert!(!entry(|entry| entry["platform"] = json!({"os": "unknown", "architecture": "unknown"})).may_be_image());
        assert!(
            !entry(|entry| entry["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"}))
                .may_be_image()
        );
        assert!(!entry(|entry| entry["artifactType"] = "application/vnd.example".into()).may_be_image());
        assert!(!entry(|entry| entry["mediaType"] = "application/vnd.example".into()).may_be_image());
    }

    #[test]
    fn an_empty_platform_is_none_and_an_impossible_one_an_error() {
        let platform = |platform: Value| {
            let mut value = descriptor(OCI_IMAGE_MEDIA_TYPE);
            value["platform"] = platform;
            serde_json::from_value::<Descriptor>(value).unwrap().platform()
        };
        assert_eq!(platform(Value::Null), Ok(None));
        assert_eq!(platform(json!({"os": "", "architecture": ""})), Ok(None));
        assert_eq!(
            platform(json!({"os": null, "architecture": null, "variant": null})),
            Ok(None)
        );
        let arm = platform(json!({"os": "linux", "architecture": "arm64", "variant": "v8", "os.version": "1"}));
        assert_eq!(arm, Ok(Some(Platform::parse("linux", "arm64").unwrap())));
        assert!(platform(json!({"os": "linux", "architecture": "\u{1b}[2J"})).is_err());
        assert!(platform(json!({"os": "linux"})).is_err());
    }
}
