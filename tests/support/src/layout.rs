//! OCI image layouts with any documents, for tests of manifests, indexes and configs. The images
//! need not be correct.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::single_image::Layout;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layout in a temporary directory. Methods that add a blob or document return its descriptor.
pub struct TestLayout {
    directory: TempDir,
    layout: Layout,
}

impl TestLayout {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::create(directory.path().to_owned());
        let empty = Self { directory, layout };
        empty.publish(&[]);
        empty
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns a reference to the layout. `version` is empty, `:<tag>` or `@<digest>`.
    pub fn reference(&self, version: &str) -> String {
        format!("oci:{}{version}", self.path().display())
    }

    pub fn blob_path(&self, descriptor: &Value) -> PathBuf {
        self.layout.blob_at(digest(descriptor))
    }

    pub fn blob(&self, media_type: &str, content: &[u8]) -> Value {
        self.layout.blob(media_type, content)
    }

    pub fn document(&self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string().as_bytes())
    }

    /// Adds an image for `platform`, such as `linux/arm/v7`. The layers are text, not tar archives:
    /// it serves tests that never apply them.
    pub fn image(&self, platform: &str, layers: &[&str]) -> Value {
        let layers: Vec<_> = layers.iter().map(|layer| self.blob(LAYER, layer.as_bytes())).collect();
        let config = self.document(CONFIG, &config(platform, &layers));
        self.document(MANIFEST, &manifest(&config, &layers))
    }

    pub fn index(&self, entries: &[Value]) -> Value {
        self.document(
            INDEX,
            &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}),
        )
    }

    /// Writes `index.json` without a media type, as buildah does.
    pub fn publish(&self, entries: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": entries});
        fs::write(self.path().join("index.json"), index.to_string()).unwrap();
    }
}

pub fn digest(descriptor: &Value) -> &str {
    descriptor["digest"].as_str().unwrap()
}

pub fn manifest(config: &Value, layers: &[Value]) -> Value {
    json!({"schemaVersion": 2, "config": config, "layers": layers})
}

pub fn config(platform: &str, layers: &[Value]) -> Value {
    let mut config = platform_object(platform);
    let diff_ids: Vec<_> = layers.iter().map(digest).collect();
    config["config"] = json!({"Env": ["A=b"], "Cmd": null});
    config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
    config
}

pub fn for_platform(mut descriptor: Value, platform: &str) -> Value {
    descriptor["platform"] = platform_object(platform);
    descriptor
}

pub fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    descriptor
}

fn platform_object(platform: &str) -> Value {
    let mut parts = platform.split('/');
    let mut object = json!({"os": parts.next().unwrap(), "architecture": parts.next().unwrap()});
    if let Some(variant) = parts.next() {
        object["variant"] = variant.into();
    }
    object
}
