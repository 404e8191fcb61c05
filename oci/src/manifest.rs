//! Parses image indexes and manifests: image-spec image-index.md and manifest.md, and what tools
//! write.
//!
//! A new media type of a document has more places: its constant in `media_type.rs`, its
//! `DocumentKind` or `has_image_config_type` here, and `DOCUMENT_MEDIA_TYPES` in `registry.rs`,
//! which are the only types that registries are asked for. A new type of layer goes into
//! `is_tar_layer`; with a new compression, also into `layer::Compression::from_media_type`. The
//! tests are here, in `tests/sources/documents.rs`, and in the seeds of `fuzz/examples/seeds.rs`.

mod error;

use super::BlobRef;
use super::config::Config;
use super::digest::Digest;
use super::json;
use super::media_type::{DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use super::platform::Platform;

pub use error::ManifestError;

/// Limit in bytes on an index, manifest or config: the one that distribution-spec sets for
/// registries.
pub(super) const MAX_DOCUMENT_LEN: u64 = 4 << 20;

/// A reference to content by its digest: image-spec descriptor.md.
#[derive(Debug, Clone)]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl Descriptor {
    fn read(value: &json::Value) -> Result<Self, json::Error> {
        let object = json::object(value)?;
        object.get("annotations", json::object)?;
        Ok(Self {
            media_type: object.get_or_default("mediaType", json::text)?,
            digest: object.require("digest", json::parsed)?,
            size: object.require("size", json::number)?,
        })
    }

    /// Checks that a document of this size may be read.
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
}

/// An entry of an index. An invalid member is an error only when it is used, since most entries are
/// for other platforms.
#[derive(Debug)]
pub(super) struct IndexEntry {
    descriptor: Result<Descriptor, json::Error>,
    platform: Result<Option<Platform>, json::Error>,
    /// Annotation `org.opencontainers.image.ref.name`.
    name: Option<String>,
    may_be_image: bool,
}

impl IndexEntry {
    /// Creates an entry for a manifest that no index lists.
    pub(super) fn for_manifest(digest: Digest, size: u64) -> Self {
        Self {
            descriptor: Ok(Descriptor {
                media_type: String::new(),
                digest,
                size,
            }),
            platform: Ok(None),
            name: None,
            may_be_image: true,
        }
    }

    fn read(value: &json::Value) -> Self {
        let object = match json::object(value) {
            Ok(object) => object,
            Err(error) => {
                return Self {
                    descriptor: Err(error.clone()),
                    platform: Err(error),
                    name: None,
                    may_be_image: true,
                };
            }
        };
        let text = |object: &json::Object<'_>, name: &str| object.get(name, json::text).ok().flatten();
        let annotations = object.get("annotations", json::object).ok().flatten();
        let annotation = |name: &str| text(annotations.as_ref()?, name);
        let media_type = text(&object, "mediaType").unwrap_or_default();
        let artifact_type = text(&object, "artifactType").unwrap_or_default();
        let is_document = is_generic_type(&media_type) || DocumentKind::of(&media_type).is_some();
        // Attestations as BuildKit stores them (docs/attestations/attestation-storage.md there).
        let is_attestation = annotation("vnd.docker.reference.type").is_some()
            || object.get("platform", |platform| {
                let platform = json::object(platform)?;
                let is_unknown = |name| text(&platform, name).is_some_and(|name| name == "unknown");
                Ok(is_unknown("os") && is_unknown("architecture"))
            }) == Ok(Some(true));
        Self {
            descriptor: Descriptor::read(value),
            platform: object.get("platform", platform).map(Option::flatten),
            name: annotation("org.opencontainers.image.ref.name"),
            may_be_image: is_document && !is_attestation && artifact_type.is_empty(),
        }
    }

    /// Names the position of the entry in its errors.
    fn in_item(self, nr: usize) -> Self {
        let in_entry = |error: json::Error| error.in_item(nr).in_member("manifests");
        Self {
            descriptor: self.descriptor.map_err(in_entry),
            platform: self.platform.map_err(in_entry),
            ..self
        }
    }

    /// Returns the descriptor of the manifest or index that the entry lists.
    pub(super) fn descriptor(&self) -> Result<&Descriptor, ManifestError> {
        self.descriptor.as_ref().map_err(|error| error.clone().into())
    }

    /// Returns the digest, if the entry has a valid one.
    pub(super) fn digest(&self) -> Option<&Digest> {
        self.descriptor.as_ref().ok().map(|descriptor| &descriptor.digest)
    }

    /// Returns the name that an image layout gives to the image, usually a tag.
    pub(super) fn ref_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the platform of the image; `None` if the entry lacks the operating system or the
    /// architecture.
    pub(super) fn platform(&self) -> Result<Option<&Platform>, ManifestError> {
        let platform = self.platform.as_ref().map_err(|error| error.clone().into());
        platform.map(Option::as_ref)
    }

    /// Returns whether the entry can be an image or an index of images: not an artifact, an
    /// attestation, or a document of another media type.
    pub(super) fn may_be_image(&self) -> bool {
        self.may_be_image
    }
}

/// Reads the platform of an entry; `None` if it lacks the operating system or the architecture.
fn platform(value: &json::Value) -> Result<Option<Platform>, json::Error> {
    let object = json::object(value)?;
    let [os, architecture, variant] =
        ["os", "architecture", "variant"].map(|name| object.get_or_default(name, json::text));
    let (os, architecture, variant) = (os?, architecture?, variant?);
    if os.is_empty() || architecture.is_empty() {
        return Ok(None);
    }
    let platform = Platform::new(&os, &architecture, Some(&variant));
    platform
        .map(Some)
        .map_err(|error| json::Error::new(format!(": {error}")))
}

/// An image index or a Docker manifest list.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) manifests: Vec<IndexEntry>,
}

impl Index {
    fn read(object: &json::Object<'_>) -> Result<Self, json::Error> {
        object.get("annotations", json::object)?;
        let manifests = object.get_or_default("manifests", |manifests| {
            json::list(manifests, |entry| Ok(IndexEntry::read(entry)))
        })?;
        let manifests = manifests.into_iter().enumerate();
        Ok(Self {
            manifests: manifests.map(|(nr, entry)| entry.in_item(nr)).collect(),
        })
    }
}

/// An image manifest, OCI or Docker schema 2.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
    artifact_type: String,
}

impl Manifest {
    fn read(object: &json::Object<'_>) -> Result<Self, json::Error> {
        object.get("annotations", json::object)?;
        Ok(Self {
            config: object.require("config", Descriptor::read)?,
            layers: object.get_or_default("layers", |layers| json::list(layers, Descriptor::read))?,
            artifact_type: object.get_or_default("artifactType", json::text)?,
        })
    }

    /// Checks that the manifest can be that of an image. Refuses artifacts, which manifest.md
    /// allows under the same media type, and layers whose media type is not that of a tar.
    ///
    /// Where media types are generic, [`Manifest::read_config`] and the first bytes of a layer
    /// decide later.
    pub(super) fn check_may_be_image(&self) -> Result<(), ManifestError> {
        if !self.has_image_config_type() && !self.config_decides() {
            return Err(self.not_an_image());
        }
        let is_tar = |layer: &&Descriptor| is_generic_type(&layer.media_type) || is_tar_layer(&layer.media_type);
        match self.layers.iter().find(|layer| !is_tar(layer)) {
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

    /// Returns whether the config has a media type of image configs.
    pub(super) fn has_image_config_type(&self) -> bool {
        let config = without_parameters(&self.config.media_type);
        config == OCI_CONFIG || config == DOCKER_CONFIG
    }

    /// Returns whether only the content of the config can tell an image from an artifact.
    fn config_decides(&self) -> bool {
        is_generic_type(&self.config.media_type) && self.artifact_type.is_empty()
    }

    /// Returns the error that the manifest is that of an artifact.
    fn not_an_image(&self) -> ManifestError {
        let named = if self.artifact_type.is_empty() {
            &self.config.media_type
        } else {
            &self.artifact_type
        };
        ManifestError::NotAnImage {
            media_type: named.clone(),
        }
    }

    /// Parses the config. If its media type is generic, its content must look like an image config.
    pub(super) fn read_config(&self, json: &[u8]) -> Result<Config, ManifestError> {
        if !self.has_image_config_type() && !Config::is_image_config(json) {
            return Err(self.not_an_image());
        }
        Config::parse(json)
    }
}

/// Returns a media type without parameters, in lower case.
fn without_parameters(media_type: &str) -> String {
    let essence = media_type.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// Returns whether a media type names no specific kind of content. Registries and tools write
/// `application/octet-stream`, `text/html` or an empty type for images too. Types of artifacts are
/// in the vendor tree (RFC 6838, section 3.2).
fn is_generic_type(media_type: &str) -> bool {
    let media_type = without_parameters(media_type);
    let subtype = media_type
        .split_once('/')
        .map_or(media_type.as_str(), |(_, subtype)| subtype);
    !subtype.starts_with("vnd.")
}

/// Returns whether a media type is one of the layer types in layer.md or of Docker. The compression
/// is detected from the layer's bytes, not from its type.
fn is_tar_layer(media_type: &str) -> bool {
    let media_type = without_parameters(media_type);
    let tar = media_type
        .strip_suffix("+gzip")
        .or_else(|| media_type.strip_suffix("+zstd"))
        .unwrap_or(&media_type);
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

/// The bytes of an index or manifest, before they are parsed. They match `digest`, except for the
/// manifest that `DockerArchive` makes itself.
#[derive(Clone)]
pub(super) struct RawDocument {
    pub(super) digest: Digest,
    /// Media type in its descriptor or in the registry's response; may be empty.
    pub(super) media_type: String,
    pub(super) json: Vec<u8>,
    /// Platform that the `index.json` of a layout lists it for.
    pub(super) platform: Option<Platform>,
}

/// A parsed index or manifest.
#[derive(Debug)]
pub(super) enum Document {
    Index(Index),
    Manifest(Box<Manifest>),
}

/// The kind of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DocumentKind {
    Index,
    Manifest,
}

impl DocumentKind {
    /// Returns the kind that a media type announces.
    fn of(media_type: &str) -> Option<Self> {
        match without_parameters(media_type).as_str() {
            OCI_INDEX | DOCKER_LIST => Some(Self::Index),
            OCI_MANIFEST | DOCKER_MANIFEST => Some(Self::Manifest),
            _ => None,
        }
    }
}

impl Document {
    /// Parses a document. `announced` is the media type in its descriptor or in the registry's
    /// response.
    ///
    /// The content of the document decides whether it is an index or a manifest, since registries
    /// also answer with `application/json` and older tools omit `mediaType`. A document that can be
    /// read as both is refused, whichever was meant (CVE-2021-41190).
    pub(super) fn parse(json: &[u8], announced: &str) -> Result<Self, ManifestError> {
        let text = json::lossy_text(json);
        let object = json::object(json::document(&text).map_err(ManifestError::json)?)?;
        let version = object.get("schemaVersion", json::number)?;
        let media_type = object.get_or_default("mediaType", json::text)?;
        match version {
            // Handwritten manifests may lack `schemaVersion`.
            None if object.contains("fsLayers") => return Err(ManifestError::Schema1),
            None | Some(2) => {}
            Some(1) => return Err(ManifestError::Schema1),
            Some(version) => {
                let version = u32::try_from(version).unwrap_or(u32::MAX);
                return Err(ManifestError::SchemaVersion { version });
            }
        }
        let has_manifest = object.contains("config") || object.contains("layers");
        let kind = match (object.contains("manifests"), has_manifest) {
            (true, true) => return Err(ManifestError::Ambiguous),
            (true, false) => DocumentKind::Index,
            (false, true) => DocumentKind::Manifest,
            (false, false) => {
                let kind = DocumentKind::of(&media_type).or_else(|| DocumentKind::of(announced));
                let Some(kind) = kind else {
                    return Err(ManifestError::Unrecognised { media_type });
                };
                kind
            }
        };
        for media_type in [media_type.as_str(), announced] {
            if DocumentKind::of(media_type).is_some_and(|named| named != kind) {
                return Err(ManifestError::Ambiguous);
            }
        }
        if !is_generic_type(&media_type) && DocumentKind::of(&media_type).is_none() {
            return Err(ManifestError::Unrecognised { media_type });
        }
        Ok(match kind {
            DocumentKind::Index => Self::Index(Index::read(&object)?),
            DocumentKind::Manifest => Self::Manifest(Box::new(Manifest::read(&object)?)),
        })
    }
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
            Document::Manifest(manifest) => manifest.check_may_be_image(),
            Document::Index(_) => panic!("an index"),
        }
    }

    #[test]
    fn documents_are_told_apart_with_and_without_media_types() {
        let mut image = manifest(OCI_CONFIG, OCI_LAYER);
        image["mediaType"] = "application/octet-stream".into();
        let index = json!({"manifests": [descriptor(OCI_MANIFEST)]});
        for announced in [
            "",
            "application/json",
            OCI_MANIFEST,
            DOCKER_MANIFEST,
            "Application/vnd.oci.image.manifest.v1+JSON; charset=utf-8",
        ] {
            assert!(
                matches!(parse(&image, announced), Ok(Document::Manifest(_))),
                "{announced}"
            );
        }
        for announced in ["", "text/plain; charset=utf-8", OCI_INDEX, DOCKER_LIST] {
            assert!(
                matches!(parse(&index, announced), Ok(Document::Index(_))),
                "{announced}"
            );
        }
        let empty = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": null});
        assert!(matches!(parse(&empty, ""), Ok(Document::Index(index)) if index.manifests.is_empty()));
    }

    #[test]
    fn null_counts_as_missing_for_optional_members() {
        let mut image = manifest(OCI_CONFIG, OCI_LAYER);
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

        let mut entry = descriptor(OCI_MANIFEST);
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
        assert!(index.manifests[0].may_be_image());
    }

    #[test]
    fn documents_of_two_kinds_are_refused() {
        let mut both = manifest(OCI_CONFIG, OCI_LAYER);
        assert!(matches!(parse(&both, OCI_INDEX), Err(ManifestError::Ambiguous)));
        both["mediaType"] = OCI_INDEX.into();
        assert!(matches!(parse(&both, ""), Err(ManifestError::Ambiguous)));
        both["mediaType"] = OCI_MANIFEST.into();
        both["manifests"] = json!([]);
        assert!(matches!(parse(&both, ""), Err(ManifestError::Ambiguous)));
    }

    #[test]
    fn other_schema_versions_and_documents_are_refused_by_name() {
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
        let unnumbered = json!({"name": "x", "fsLayers": []});
        assert!(matches!(parse(&unnumbered, ""), Err(ManifestError::Schema1)));
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
            image_check(&manifest(DOCKER_CONFIG, layer)).unwrap();
        }
        let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
        let refused = image_check(&manifest(OCI_CONFIG, encrypted));
        assert!(matches!(refused, Err(ManifestError::EncryptedLayer { media_type }) if media_type == encrypted));
        let in_toto = "application/vnd.in-toto+json";
        let refused = image_check(&manifest(OCI_CONFIG, in_toto));
        assert!(matches!(refused, Err(ManifestError::UnknownLayer { media_type }) if media_type == in_toto));
    }

    #[test]
    fn config_decides_where_media_types_are_generic() {
        let image = json!({"rootfs": {"type": "layers", "diff_ids": []}}).to_string();
        for config in [
            "",
            "application/octet-stream",
            "application/json",
            "text/html",
            "text/plain; charset=utf-8",
        ] {
            let Ok(Document::Manifest(manifest)) = parse(&manifest(config, config), "") else {
                panic!("no manifest")
            };
            manifest.check_may_be_image().unwrap();
            manifest.read_config(image.as_bytes()).unwrap();
            for other in ["", "PNG", "[]", "{}", r#"{"rootfs": {}}"#, r#"{"rootfs": ["layers"]}"#] {
                let refused = manifest.read_config(other.as_bytes());
                assert!(matches!(refused, Err(ManifestError::NotAnImage { .. })), "{other}");
            }
            // An invalid config is not taken for an artifact.
            let faulty = br#"{"rootfs": {"diff_ids": [7]}}"#;
            assert!(matches!(manifest.read_config(faulty), Err(ManifestError::Json(_))));
        }
        let mut typed = manifest("application/json", OCI_LAYER);
        typed["artifactType"] = "application/vnd.example".into();
        assert!(matches!(image_check(&typed), Err(ManifestError::NotAnImage { .. })));
    }

    fn entry(value: Value) -> IndexEntry {
        let entries = vec![value];
        let index = json!({"manifests": entries});
        match parse(&index, "").unwrap() {
            Document::Index(mut index) => index.manifests.remove(0),
            Document::Manifest(_) => panic!("a manifest"),
        }
    }

    #[test]
    fn entries_for_attestations_and_artifacts_are_not_images() {
        let changed = |change: fn(&mut Value)| {
            let mut value = descriptor(OCI_MANIFEST);
            change(&mut value);
            entry(value)
        };
        assert!(changed(|_| ()).may_be_image());
        assert!(changed(|entry| entry["annotations"] = Value::Null).may_be_image());
        assert!(changed(|entry| entry["platform"] = json!({"os": "linux", "architecture": "amd64"})).may_be_image());
        assert!(
            !changed(|entry| entry["platform"] = json!({"os": "unknown", "architecture": "unknown"})).may_be_image()
        );
        assert!(
            !changed(|entry| entry["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"}))
                .may_be_image()
        );
        assert!(!changed(|entry| entry["artifactType"] = "application/vnd.example".into()).may_be_image());
        assert!(!changed(|entry| entry["mediaType"] = "application/vnd.example".into()).may_be_image());
    }

    #[test]
    fn empty_platform_is_none_and_invalid_platform_an_error() {
        let platform = |platform: Value| {
            let mut value = descriptor(OCI_MANIFEST);
            value["platform"] = platform;
            let entry = entry(value);
            entry
                .platform()
                .map(|platform| platform.map(ToString::to_string))
                .map_err(|error| std::error::Error::source(&error).unwrap().to_string())
        };
        for (json, expected) in [
            (Value::Null, Ok(None)),
            (json!({"os": "", "architecture": ""}), Ok(None)),
            (json!({"os": null, "architecture": null, "variant": null}), Ok(None)),
            (json!({"os": "linux"}), Ok(None)),
            (
                json!({"os": "linux", "architecture": "arm64", "variant": "v8", "os.version": 1}),
                Ok(Some("linux/arm64".to_owned())),
            ),
            (
                json!({"os": "linux", "architecture": "\u{1b}[2J"}),
                Err(
                    "manifests[0].platform: \"\\u{1b}[2J\" is not a valid architecture: 1 to 64 of the characters A-Z a-z 0-9 _ . -",
                ),
            ),
            (
                json!(["linux", "amd64"]),
                Err("manifests[0].platform is a list, not an object"),
            ),
        ] {
            assert_eq!(platform(json), expected.map_err(str::to_owned));
        }
    }

    #[test]
    fn invalid_entry_is_an_error_only_when_it_is_used() {
        for (faulty, expected) in [
            (json!(7), "manifests[0] is a number, not an object"),
            (json!({"size": 7}), "manifests[0].digest is missing"),
            (
                json!({"digest": format!("sha256:{}", "a".repeat(64)), "size": -7}),
                "manifests[0].size is -7, not a whole number from 0 up",
            ),
            (
                json!({"digest": "md5:00", "size": 7}),
                "manifests[0].digest: digest algorithm \"md5\" is not supported: sha256 and sha512 are",
            ),
        ] {
            let ManifestError::Json(error) = entry(faulty).descriptor().unwrap_err() else {
                panic!("another error")
            };
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn list_in_place_of_an_object_is_refused() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for document in [
            json!([2, "", descriptor(OCI_CONFIG), []]),
            json!({"schemaVersion": 2, "config": ["", digest, 7], "layers": []}),
            json!({"schemaVersion": 2, "config": descriptor(""), "layers": [["", digest, 7]]}),
            json!({"schemaVersion": 2, "config": descriptor(""), "layers": {}}),
            json!({"schemaVersion": 2, "manifests": {}}),
        ] {
            let refused = parse(&document, OCI_MANIFEST);
            assert!(
                matches!(refused, Err(ManifestError::Json(_) | ManifestError::Ambiguous)),
                "{document}"
            );
        }
    }
}
