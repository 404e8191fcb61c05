//! UUID and hash seed of a file system, derived from the digest of the image's manifest.

use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use oci::Digest;

/// Returns the UUID of the file system that is built from a manifest.
///
/// It is a custom UUID (version 8, RFC 9562): the first 16 bytes of the SHA-256 of `microagent
/// rootfs uuid`, a NUL and the digest as text, with the version and variant bits set.
#[must_use]
pub fn uuid(manifest: &Digest) -> Uuid {
    Builder::from_custom_bytes(derive("microagent rootfs uuid", manifest)).into_uuid()
}

/// Returns the seed of the file system's directory hashes.
///
/// It is derived as [`uuid()`], from `microagent rootfs hash seed`, with no bits changed.
#[must_use]
pub fn hash_seed(manifest: &Digest) -> [u8; 16] {
    derive("microagent rootfs hash seed", manifest)
}

/// Returns the first 16 bytes of the SHA-256 of a purpose, a NUL and the digest as text.
fn derive(purpose: &str, manifest: &Digest) -> [u8; 16] {
    let hash = Sha256::digest(format!("{purpose}\0{manifest}"));
    hash[..16].try_into().expect("a SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Digest {
        format!("sha256:{}", "ab".repeat(32)).parse().unwrap()
    }

    #[test]
    fn identity_of_a_manifest_never_changes() {
        assert_eq!(uuid(&manifest()).to_string(), "21522b1d-27b7-864c-9dff-41ba6e8cdf4c");
        assert_eq!(
            Uuid::from_bytes(hash_seed(&manifest())).to_string(),
            "a4dd08db-055a-6c48-7442-f3e1523341cd"
        );
    }

    #[test]
    fn uuid_has_version_8_of_rfc_9562() {
        let uuid = uuid(&manifest());
        assert_eq!(uuid.get_version_num(), 8);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
    }
}
