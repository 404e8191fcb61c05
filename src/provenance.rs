//! Provenance record: the OCI image that a disk image was built from.
//!
//! The record is in the 1,024 bytes before the superblock, the boot area of ext4, which Linux,
//! e2fsck and resize2fs do not touch. So it is part of no path, and survives mounts, checks and
//! growth. A boot loader overwrites it. An extended attribute of the root would be part of the
//! tree, and the kernel may change the fields of the superblock.
//!
//! | offset | length | content |
//! |---|---|---|
//! | 0 | 16 | magic: `microagent/ext4` and a line feed |
//! | 16 | 4 | length of the JSON, little-endian |
//! | 20 | 4 | CRC-32C of the JSON, little-endian |
//! | 24 | length | JSON of a [`Provenance`] |
//! | | | zeros |
//!
//! The record depends on the manifest's digest, on the platform and on the version of this program.
//! The reference of the image is not part of it: the same image from a registry, a mirror or a
//! layout has several references, and must give the same bytes.

use std::error::Error;

use ext4::BOOT_AREA_LEN;
use serde::{Deserialize, Serialize};

use layer::failure::{ErrorKind, Failure, Hint};
use oci::Image;

/// First bytes of a record.
const MAGIC: &[u8; 16] = b"microagent/ext4\n";
/// Offset of the JSON in a record.
const JSON_START: usize = MAGIC.len() + 8;

/// The OCI image that a disk image was built from, and the version of the program that built it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Provenance {
    /// Digest of the platform's manifest, as text.
    pub digest: String,
    /// Platform in the image's config, such as `linux/arm64`. If the config has none, the platform
    /// that the image was resolved for. `None` if the config's platform is invalid.
    pub platform: Option<String>,
    /// Version of the program that built it, such as `0.1.0`.
    pub version: String,
}

/// A record that exists but cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvenanceError {
    /// The record's length or checksum is wrong.
    #[error("the record is damaged")]
    Damaged,
    /// The record is intact, but this version does not know its format.
    #[error("the record has an unknown format")]
    Unknown(#[source] Box<dyn Error + Send + Sync>),
}

impl Failure for ProvenanceError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged => ErrorKind::Permanent,
            Self::Unknown(_) => ErrorKind::Unsupported,
        }
    }

    fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::Damaged => Hint::verify(),
            Self::Unknown(_) => "inspect it with the version that built it".into(),
        })
    }
}

impl Provenance {
    /// Returns the record for a disk image that this version builds from an image.
    #[must_use]
    pub fn of(image: &Image) -> Self {
        Self {
            digest: image.digest.to_string(),
            platform: image
                .config
                .platform(&image.platform)
                .ok()
                .map(|platform| platform.to_string()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Encodes the record for the bytes before the superblock
    /// ([`Options::boot_area`](ext4::Options::boot_area)).
    ///
    /// # Panics
    ///
    /// If the fields together exceed some 900 bytes, which digests and platforms never do.
    #[must_use]
    pub fn encode(&self) -> [u8; BOOT_AREA_LEN] {
        let json = serde_json::to_vec(self).expect("strings become JSON");
        let mut area = [0; BOOT_AREA_LEN];
        area[..MAGIC.len()].copy_from_slice(MAGIC);
        let len = u32::try_from(json.len()).expect("names of platforms are short");
        area[MAGIC.len()..][..4].copy_from_slice(&len.to_le_bytes());
        area[MAGIC.len() + 4..][..4].copy_from_slice(&crc32c::crc32c(&json).to_le_bytes());
        area[JSON_START..][..json.len()].copy_from_slice(&json);
        area
    }

    /// Decodes the bytes before the superblock. Returns `None` if they do not start with the magic.
    ///
    /// # Errors
    ///
    /// [`ProvenanceError`] if the record is damaged or of an unknown format.
    pub fn decode(area: &[u8; BOOT_AREA_LEN]) -> Result<Option<Self>, ProvenanceError> {
        let Some(record) = area.strip_prefix(MAGIC) else {
            return Ok(None);
        };
        let (numbers, rest) = record.split_at(JSON_START - MAGIC.len());
        let (numbers, _) = numbers.as_chunks::<4>();
        let [len, checksum] = [numbers[0], numbers[1]].map(u32::from_le_bytes);
        let json = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let json = json.filter(|json| crc32c::crc32c(json) == checksum);
        let json = json.ok_or(ProvenanceError::Damaged)?;
        let record = serde_json::from_slice(json);
        record.map(Some).map_err(|error| ProvenanceError::Unknown(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provenance() -> Provenance {
        Provenance {
            // The longest digest and platform.
            digest: format!("sha512:{}", "ab".repeat(64)),
            platform: Some(["x"; 3].map(|name| name.repeat(64)).join("/")),
            version: "0.1.0".to_owned(),
        }
    }

    #[test]
    fn a_record_survives_encoding() {
        assert_eq!(Provenance::decode(&provenance().encode()).unwrap(), Some(provenance()));
        assert_eq!(Provenance::decode(&[0; BOOT_AREA_LEN]).unwrap(), None);
    }

    #[test]
    fn damage_of_any_byte_is_detected() {
        let good = provenance().encode();
        let json_len = serde_json::to_vec(&provenance()).unwrap().len();
        let end = JSON_START + json_len;
        assert!(good[end..].iter().all(|byte| *byte == 0), "zeros after the record");
        for at in 0..end {
            let mut damaged = good;
            damaged[at] ^= 0x80;
            let result = Provenance::decode(&damaged);
            if at < MAGIC.len() {
                assert!(result.unwrap().is_none(), "{at}");
            } else {
                assert!(matches!(result, Err(ProvenanceError::Damaged)), "{at}: {result:?}");
            }
        }
    }

    #[test]
    fn a_record_of_another_format_is_an_error() {
        let json = b"{}";
        let mut area = [0; BOOT_AREA_LEN];
        area[..16].copy_from_slice(MAGIC);
        area[16] = 2;
        area[20..24].copy_from_slice(&crc32c::crc32c(json).to_le_bytes());
        area[24..26].copy_from_slice(json);
        assert!(matches!(Provenance::decode(&area), Err(ProvenanceError::Unknown(_))));
    }
}
