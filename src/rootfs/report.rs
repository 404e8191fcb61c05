//! The result of a build, for users and programs.

use std::path::{Path, PathBuf};

use ext4::Summary;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::Warning;
use crate::guest::InitPath;
use layer::{Compression, LayerSummary};
use oci::{Digest, Platform};

/// A disk image that was built, and the image that it was built of.
///
/// Serialized, it has the members of the command's JSON but `image_ref`: `resolved_ref`, `digest`,
/// `platform`, `config_platform` (omitted if there is none), `output_path`, `output_digest`,
/// `format`, `uuid`, `size_bytes`, `used_bytes`, `inode_count`, `builder`, `builder_phase`,
/// `layer_digests`, `init_path`, `stage_dir`, `stage_snapshot`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuildReport {
    /// The image that was used, pinned by digest.
    pub resolved_ref: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Platform that it is for.
    pub platform: Platform,
    /// Platform that its config names, as written, where its index lists another one.
    pub config_platform: Option<String>,
    /// Its layers, lowest first.
    pub layers: Vec<AppliedLayer>,
    /// Path of the init in it, if it got one.
    pub init_path: Option<InitPath>,
    /// The file that was written; `None` of [`build_into`](super::build_into).
    pub output_path: Option<PathBuf>,
    /// SHA-256 of its bytes, if that was asked for.
    pub output_digest: Option<Digest>,
    /// The directory beside it with its tree, if that was asked for.
    pub stage_dir: Option<PathBuf>,
    /// The directory elsewhere with its tree, if that was asked for.
    pub stage_snapshot: Option<PathBuf>,
    /// The program that made the file system.
    pub builder: Builder,
    /// UUID of the file system.
    pub uuid: Uuid,
    /// Size of the file system in bytes.
    pub size_bytes: u64,
    /// Bytes of it that are in use, metadata included.
    pub used_bytes: u64,
    /// Inodes in use.
    pub inode_count: u32,
    /// All warnings, in the order in which they were reported as events.
    pub warnings: Vec<Warning>,
}

impl BuildReport {
    /// Takes the measures of another file system of the same image.
    pub(super) fn measure(&mut self, summary: Summary) {
        self.size_bytes = summary.size_bytes;
        self.used_bytes = summary.used_bytes;
        self.inode_count = summary.inode_count;
    }
}

/// A maker of file systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Builder {
    /// The writer of this program.
    Native,
    /// An mke2fs that the user named.
    Mke2fs,
}

/// A layer that is in the disk image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedLayer {
    /// Digest of its blob.
    pub digest: Digest,
    /// Media type of its blob, as written; empty where nothing says one.
    pub media_type: String,
    /// Its compression, which need not be that of its media type.
    pub compression: Compression,
    /// Counts of what it held.
    pub summary: LayerSummary,
}

impl AppliedLayer {
    /// Returns what users should know of the layer.
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

/// The form of a [`BuildReport`] for programs.
#[derive(Serialize)]
struct Json<'a> {
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
        let json = Json {
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
