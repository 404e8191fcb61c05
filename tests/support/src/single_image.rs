//! OCI image layouts (image-spec image-layout.md) of one image, for tests of layers.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A layout directory that holds one image.
pub struct Layout {
    directory: PathBuf,
}

/// A layer, as manifest and config describe it. A test may change either.
pub struct Layer {
    /// Descriptor in the manifest.
    pub descriptor: Value,
    /// Digest of the tar, in the config.
    pub diff_id: String,
}

impl Layout {
    /// Creates an empty layout in a directory, and the directory if it does not exist.
    pub fn create(directory: PathBuf) -> Self {
        fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
        fs::write(
            directory.join("oci-layout"),
            json!({"imageLayoutVersion": "1.0.0"}).to_string(),
        )
        .unwrap();
        Self { directory }
    }

    /// Directory of the layout.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Compresses a tar with gzip, and adds it as a layer.
    pub fn gzip_layer(&self, tar: &[u8]) -> Layer {
        self.layer(&gzip(tar), digest(tar))
    }

    /// Adds any bytes as a layer of the media type for gzip.
    pub fn layer(&self, blob: &[u8], diff_id: String) -> Layer {
        self.layer_of("application/vnd.oci.image.layer.v1.tar+gzip", blob, diff_id)
    }

    /// Adds any bytes as a layer of any media type.
    pub fn layer_of(&self, media_type: &str, blob: &[u8], diff_id: String) -> Layer {
        let descriptor = self.blob(media_type, blob);
        Layer { descriptor, diff_id }
    }

    /// Writes an image for `linux/amd64` with these layers and a command, tagged `latest`. Returns
    /// the digest of its manifest.
    pub fn image(&self, layers: &[Layer]) -> String {
        self.image_that_runs(layers, &json!({"Cmd": ["/bin/true"]}))
    }

    /// Writes an image like [`Self::image`] with another `config` in its config.
    pub fn image_that_runs(&self, layers: &[Layer], execution: &Value) -> String {
        self.image_for("amd64", layers, execution)
    }

    /// Writes an image like [`Self::image_that_runs`] for Linux on any architecture.
    pub fn image_for(&self, architecture: &str, layers: &[Layer], execution: &Value) -> String {
        let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": execution,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let descriptors: Vec<_> = layers.iter().map(|layer| &layer.descriptor).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes()),
            "layers": descriptors,
        });
        let mut descriptor = self.blob(
            "application/vnd.oci.image.manifest.v1+json",
            manifest.to_string().as_bytes(),
        );
        let digest = descriptor["digest"].as_str().unwrap().to_owned();
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        let index = json!({"schemaVersion": 2, "manifests": [descriptor]});
        fs::write(self.directory.join("index.json"), index.to_string()).unwrap();
        digest
    }

    /// Reference to the tag `latest`.
    pub fn tagged(&self) -> String {
        format!("oci:{}:latest", self.directory.display())
    }

    /// Reference to an image by its digest.
    pub fn pinned(&self, digest: &str) -> String {
        format!("oci:{}@{digest}", self.directory.display())
    }

    /// Path of a layer's blob.
    pub fn blob_path(&self, layer: &Layer) -> PathBuf {
        self.blob_at(layer.descriptor["digest"].as_str().unwrap())
    }

    /// Path of the blob with a digest.
    pub fn blob_at(&self, digest: &str) -> PathBuf {
        self.directory.join("blobs").join(digest.replace(':', "/"))
    }

    /// Adds a blob, and returns its descriptor.
    pub fn blob(&self, media_type: &str, content: &[u8]) -> Value {
        let digest = digest(content);
        fs::write(self.blob_at(&digest), content).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": content.len()})
    }
}

/// Digest of content: `sha256:` and the hash in hexadecimal.
pub fn digest(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    hash.iter()
        .fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Compresses content into one gzip member.
pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
