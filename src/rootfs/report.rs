//! The report of a build, for users and programs.
//!
//! To add a field to the command's JSON, add it to [`BuildReport`], set it in
//! `Build::write_file_system` or `Build::build_file` of `src/rootfs.rs`, and add it to
//! [`JsonReport`] and its serialization here. `tests/cli/report.rs` lists all keys, and `README.md`
//! and the documentation of [`BuildReport`] describe them. The text for users is in
//! `src/cli/report.rs`, which also adds `image_ref` to the JSON.

use std::path::{Path, PathBuf};

use ext4::Summary;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::Warning;
use crate::guest::InitPath;
use layer::{Compression, LayerSummary};
use oci::{Digest, Platform};

/// A disk image that was built, and the OCI image that it was built from.
///
/// Serialized, it has the members of the command's JSON except `image_ref`: `resolved_ref`,
/// `digest`, `platform`, `config_platform` (omitted if `None`), `output_path`, `output_digest`,
/// `format`, `uuid`, `size_bytes`, `used_bytes`, `inode_count`, `builder`, `builder_phase`,
/// `layer_digests`, `init_path`, `stage_dir`, `stage_snapshot`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuildReport {
    /// Reference of the OCI image, pinned by digest.
    pub resolved_ref: String,
    /// Digest of the image's manifest.
    pub digest: Digest,
    /// Platform of the image.
    pub platform: Platform,
    /// Platform in the image's config, as written, if the index lists another one.
    pub config_platform: Option<String>,
    /// Layers of the image, lowest first.
    pub layers: Vec<AppliedLayer>,
    /// Path of the init in the disk image, if one was installed.
    pub init_path: Option<InitPath>,
    /// Path of the disk image; `None` after [`build_into`](super::build_into).
    pub output_path: Option<PathBuf>,
    /// SHA-256 of the disk image, with [`BuildOptions::digest`](super::BuildOptions::digest).
    pub output_digest: Option<Digest>,
    /// Stage directory of [`BuildOptions::keep_stage`](super::BuildOptions::keep_stage).
    pub stage_dir: Option<PathBuf>,
    /// Stage directory of [`BuildOptions::stage_snapshot`](super::BuildOptions::stage_snapshot).
    pub stage_snapshot: Option<PathBuf>,
    /// Writer of the file system.
    pub builder: Builder,
    /// UUID of the file system.
    pub uuid: Uuid,
    /// Size of the file system in bytes.
    pub size_bytes: u64,
    /// Bytes of the file system in use, including metadata.
    pub used_bytes: u64,
    /// Number of inodes in use.
    pub inode_count: u32,
    /// All warnings, in the order of their events.
    pub warnings: Vec<Warning>,
}

impl BuildReport {
    /// Replaces the sizes with those of another file system of the same image.
    pub(super) fn set_sizes(&mut self, summary: Summary) {
        self.size_bytes = summary.size_bytes;
        self.used_bytes = summary.used_bytes;
        self.inode_count = summary.inode_count;
    }
}

/// A writer of file systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Builder {
    /// The native writer of this library.
    Native,
    /// The mke2fs of [`BuildOptions::mke2fs`](super::BuildOptions::mke2fs).
    Mke2fs,
}

/// A layer that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedLayer {
    /// Digest of its blob.
    pub digest: Digest,
    /// Media type of its blob, as written in the manifest; empty for a source without media types.
    pub media_type: String,
    /// Compression of the blob, which may differ from that in the media type.
    pub compression: Compression,
    /// Counts of its entries and of what was ignored.
    pub summary: LayerSummary,
}

impl AppliedLayer {
    /// Returns the warnings about the layer.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        let Self {
            digest,
            media_type,
            compression,
            summary,
        } = self;
        let layer = || digest.clone();
        let differs = Compression::from_media_type(media_type).is_some_and(|announced| announced != *compression);
        let warnings = [
            differs.then(|| Warning::Compression {
                layer: layer(),
                found: *compression,
                media_type: media_type.clone(),
            }),
            (summary.ignored_xattrs > 0).then(|| Warning::IgnoredXattrs {
                layer: layer(),
                count: summary.ignored_xattrs,
            }),
            (summary.overlay_xattrs > 0).then(|| Warning::OverlayXattrs {
                layer: layer(),
                count: summary.overlay_xattrs,
            }),
            (summary.ignored_acls > 0).then(|| Warning::TextAcls {
                layer: layer(),
                count: summary.ignored_acls,
            }),
            summary.data_after_end.then(|| Warning::DataAfterEnd { layer: layer() }),
        ];
        warnings.into_iter().flatten().collect()
    }
}

/// JSON of a [`BuildReport`].
#[derive(Serialize)]
struct JsonReport<'a> {
    resolved_ref: &'a str,
    digest: &'a Digest,
    platform: &'a Platform,
    #[serde(skip_serializing_if = "Option::is_none")]
    config_platform: Option<&'a str>,
    output_path: Option<String>,
    output_digest: Option<&'a Digest>,
    format: &'static str,
    uuid: String,
    size_bytes: u64,
    used_bytes: u64,
    inode_count: u32,
    builder: &'static str,
    builder_phase: &'static str,
    layer_digests: Vec<&'a Digest>,
    init_path: Option<&'a str>,
    stage_dir: Option<String>,
    stage_snapshot: Option<String>,
}

impl Serialize for BuildReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let json = JsonReport {
            resolved_ref: &self.resolved_ref,
            digest: &self.digest,
            platform: &self.platform,
            config_platform: self.config_platform.as_deref(),
            output_path: self.output_path.as_deref().map(text),
            output_digest: self.output_digest.as_ref(),
            format: "ext4",
            uuid: self.uuid.to_string(),
            size_bytes: self.size_bytes,
            used_bytes: self.used_bytes,
            inode_count: self.inode_count,
            builder: match self.builder {
                Builder::Native => "native",
                Builder::Mke2fs => "mke2fs",
            },
            builder_phase: "complete",
            layer_digests: self.layers.iter().map(|layer| &layer.digest).collect(),
            init_path: self.init_path.as_ref().map(InitPath::as_str),
            stage_dir: self.stage_dir.as_deref().map(text),
            stage_snapshot: self.stage_snapshot.as_deref().map(text),
        };
        json.serialize(serializer)
    }
}
