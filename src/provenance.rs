//! What a disk image says of where it comes from, in the 1,024 bytes before its superblock.
//!
//! No path of the image shows it, and neither Linux nor e2fsprogs ever touches these bytes, so that it survives use, checks
//! and growth; a boot loader that is written there takes its place. The record is 16 bytes of magic, the length of the JSON
//! and its CRC-32C as little-endian numbers of 4 bytes, the JSON, and zeros.
//!
//! It holds nothing but what follows from the digest of the manifest, and the version of this program: the reference is not
//! in it, because the same image has many, in registries, mirrors and layouts, and gives the same bytes from each.

use std::error::Error;

use ext4::BOOT_AREA_LEN;
use serde::{Deserialize, Serialize};

use layer::failure::{ErrorKind, Failure, Hint};
use oci::Image;

/// What a record begins with.
const MAGIC: &[u8; 16] = b"microagent/ext4\n";
/// Where the JSON begins.
const JSON_START: usize = MAGIC.len() + 8;

/// Which image a disk image was built of, and by what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Provenance {
    /// Digest of the platform's manifest, as text.
    pub digest: String,
    /// The platform that the image's config names, such as `linux/arm64`, or where it names none,
    /// the one that the image was taken for; none if it names one that cannot be.
    pub platform: Option<String>,
    /// Version of the program that built it, such as `0.1.0`.
    pub version: String,
}

/// A record that is there and cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvenanceError {
    /// Its length or checksum is wrong.
    #[error("the record is damaged")]
    Damaged,
    /// It is whole, and not of a form that this version knows.
    #[error("the record has an unknown form")]
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
            Self::Unknown(_) => "look into it with the version that built it".into(),
        })
    }
}

impl Provenance {
    /// The record of a disk image that this version makes of an image.
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

    /// Returns the bytes before the superblock, for
    /// [`Options::boot_area`](ext4::Options::boot_area).
    ///
    /// # Panics
    ///
    /// Panics if the texts have more than some 900 bytes; digests and platforms never do.
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

    /// What the bytes before the superblock say; none if they hold no record.
    ///
    /// # Errors
    ///
    /// [`ProvenanceError`] if there is one that cannot be read.
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
            // The longest that there can be.
            digest: format!("sha512:{}", "ab".repeat(64)),
            platform: Some(["x"; 3].map(|name| name.repeat(64)).join("/")),
            version: "0.1.0".to_owned(),
        }
    }

    #[test]
    fn a_record_comes_back() {
        assert_eq!(Provenance::decode(&provenance().encode()).unwrap(), Some(provenance()));
        assert_eq!(Provenance::decode(&[0; BOOT_AREA_LEN]).unwrap(), None);
    }

    #[test]
    fn any_damage_is_noticed() {
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
    fn a_record_of_another_form_is_an_error() {
        let json = b"{}";
        let mut area = [0; BOOT_AREA_LEN];
        area[..16].copy_from_slice(MAGIC);
        area[16] = 2;
        area[20..24].copy_from_slice(&crc32c::crc32c(json).to_le_bytes());
        area[24..26].copy_from_slice(json);
        assert!(matches!(Provenance::decode(&area), Err(ProvenanceError::Unknown(_))));
    }
}
