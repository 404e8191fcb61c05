//! OCI image layouts (image-spec image-layout.md), made on the spot.

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

/// A layer as its image's manifest and config describe it, right or wrong.
pub struct Layer {
    /// What the manifest says.
    pub descriptor: Value,
    /// The digest of the tar in the config.
    pub diff_id: String,
}

impl Layout {
    /// An empty layout in a directory that does not exist yet.
    pub fn create(directory: PathBuf) -> Self {
        fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
        fs::write(
            directory.join("oci-layout"),
            json!({"imageLayoutVersion": "1.0.0"}).to_string(),
        )
        .unwrap();
        Self { directory }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Puts a gzipped tar into the layout.
    pub fn gzip_layer(&self, tar: &[u8]) -> Layer {
        self.layer(&gzip(tar), digest(tar))
    }

    /// Puts any bytes into the layout as a gzipped layer.
    pub fn layer(&self, blob: &[u8], diff_id: String) -> Layer {
        self.layer_of("application/vnd.oci.image.layer.v1.tar+gzip", blob, diff_id)
    }

    /// Puts any bytes into the layout as a layer of any media type.
    pub fn layer_of(&self, media_type: &str, blob: &[u8], diff_id: String) -> Layer {
        let descriptor = self.blob(media_type, blob);
        Layer { descriptor, diff_id }
    }

    /// Makes the layers an image for `linux/amd64` with a command, tagged `latest`, and returns the digest of its manifest.
    pub fn image(&self, layers: &[Layer]) -> String {
        self.image_that_runs(layers, &json!({"Cmd": ["/bin/true"]}))
    }

    /// An image for `linux/amd64` that is run as this says.
    pub fn image_that_runs(&self, layers: &[Layer], execution: &Value) -> String {
        self.image_for("amd64", layers, execution)
    }

    /// An image for Linux on any machine.
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

    /// Reference of what the tag names.
    pub fn tagged(&self) -> String {
        format!("oci:{}:latest", self.directory.display())
    }

    /// Reference of an image by its digest.
    pub fn pinned(&self, digest: &str) -> String {
        format!("oci:{}@{digest}", self.directory.display())
    }

    /// Where a layer's blob is.
    pub fn blob_path(&self, layer: &Layer) -> PathBuf {
        self.blob_at(layer.descriptor["digest"].as_str().unwrap())
    }

    /// Where the blob of a digest is.
    pub fn blob_at(&self, digest: &str) -> PathBuf {
        self.directory.join("blobs").join(digest.replace(':', "/"))
    }

    /// Puts a blob into the layout, and returns its descriptor.
    pub fn blob(&self, media_type: &str, content: &[u8]) -> Value {
        let digest = digest(content);
        fs::write(self.blob_at(&digest), content).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": content.len()})
    }
}

/// `sha256:` and the hash of the content.
pub fn digest(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    hash.iter()
        .fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// One gzip member.
pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
