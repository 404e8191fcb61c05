//! What sets one file system apart from another, derived from the image that it is made of.

use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use oci::Digest;

/// The UUID of the file system made of a manifest: a custom one (version 8, RFC 9562) of the first 16 bytes of the SHA-256
/// of `microagent rootfs uuid`, a NUL and the digest as text, with the bits of version and variant set.
#[must_use]
pub fn uuid(manifest: &Digest) -> Uuid {
    Builder::from_custom_bytes(derive("microagent rootfs uuid", manifest)).into_uuid()
}

/// The seed of the hashes of names: as [`uuid()`], of `microagent rootfs hash seed`, with all bits as they come.
#[must_use]
pub fn hash_seed(manifest: &Digest) -> [u8; 16] {
    derive("microagent rootfs hash seed", manifest)
}

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
    fn the_same_manifest_always_has_the_same_identity() {
        assert_eq!(uuid(&manifest()).to_string(), "21522b1d-27b7-864c-9dff-41ba6e8cdf4c");
        assert_eq!(
            Uuid::from_bytes(hash_seed(&manifest())).to_string(),
            "a4dd08db-055a-6c48-7442-f3e1523341cd"
        );
    }

    #[test]
    fn the_uuid_is_a_custom_one_of_rfc_9562() {
        let uuid = uuid(&manifest());
        assert_eq!(uuid.get_version_num(), 8);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
    }
}
