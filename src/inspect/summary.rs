//! Summary of a disk image.
//!
//! A new fact is a field of [`DiskSummary`], filled in [`DiskImage::summary`] and serialized below
//! (raise the field count there). Print it in `cli::inspect`, list it in the help text of that
//! command and in README.md under "Looking into an image", and check it in `tests/cli/inspect.rs`.
//! A fact from the superblock is first added to `ext4::read::SuperblockInfo`.

use std::path::{Path, PathBuf};

use ext4::ReadAt;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::{DiskImage, InspectError};
use crate::provenance::Provenance;

/// Size, free space, label, features and provenance of a disk image.
///
/// Serializes to the JSON of `microagent rootfs inspect`: the fields by their names, with
/// `"format":"ext4"` after the path, and `null` for `None`. The UUID has hyphens.
/// Bytes of the path and the label that are not UTF-8 become U+FFFD.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskSummary {
    /// Path of the disk image; `None` if it is not a file.
    pub path: Option<PathBuf>,
    /// UUID of the file system.
    pub uuid: Uuid,
    /// Label, without trailing NULs.
    pub label: Vec<u8>,
    /// Size of the file system in bytes.
    pub size_bytes: u64,
    /// Used bytes, metadata included.
    pub used_bytes: u64,
    /// Free bytes.
    pub free_bytes: u64,
    /// Size of a block in bytes.
    pub block_size: u64,
    /// Number of used inodes.
    pub inode_count: u32,
    /// Number of free inodes.
    pub free_inode_count: u32,
    /// Features, with the names and in the order of `dumpe2fs`.
    pub features: Vec<String>,
    /// Set if the journal needs recovery. All reads return what they would after a replay.
    pub needs_recovery: bool,
    /// Record of the container image that the disk image was built from; `None` if it has no
    /// record.
    pub provenance: Option<Provenance>,
}

impl<R: ReadAt> DiskImage<R> {
    /// Returns a summary from the superblock and the provenance.
    ///
    /// # Errors
    ///
    /// The errors of [`DiskImage::provenance`].
    pub fn summary(&self) -> Result<DiskSummary, InspectError> {
        let info = self.info();
        let used = info.block_count.saturating_sub(info.free_block_count);
        Ok(DiskSummary {
            path: self.path.clone(),
            uuid: Uuid::from_bytes(info.uuid),
            label: info.label,
            size_bytes: info.block_count.saturating_mul(info.block_size),
            used_bytes: used.saturating_mul(info.block_size),
            free_bytes: (info.block_count - used).saturating_mul(info.block_size),
            block_size: info.block_size,
            inode_count: info.inode_count.saturating_sub(info.free_inode_count),
            free_inode_count: info.free_inode_count,
            features: info.features,
            needs_recovery: info.needs_recovery,
            provenance: self.provenance()?,
        })
    }
}

impl Serialize for DiskSummary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let path = self.path.as_deref().map(Path::to_string_lossy);
        let mut json = serializer.serialize_struct("DiskSummary", 13)?;
        json.serialize_field("path", &path)?;
        json.serialize_field("format", "ext4")?;
        json.serialize_field("uuid", &self.uuid.to_string())?;
        json.serialize_field("label", &String::from_utf8_lossy(&self.label))?;
        json.serialize_field("size_bytes", &self.size_bytes)?;
        json.serialize_field("used_bytes", &self.used_bytes)?;
        json.serialize_field("free_bytes", &self.free_bytes)?;
        json.serialize_field("block_size", &self.block_size)?;
        json.serialize_field("inode_count", &self.inode_count)?;
        json.serialize_field("free_inode_count", &self.free_inode_count)?;
        json.serialize_field("features", &self.features)?;
        json.serialize_field("needs_recovery", &self.needs_recovery)?;
        json.serialize_field("provenance", &self.provenance)?;
        json.end()
    }
}
