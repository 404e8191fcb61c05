//! Turns an OCI container image into a bootable ext4 disk image.

pub mod diff;
pub mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod guest;
pub mod inspect;
pub mod mke2fs;
pub mod provenance;
pub mod rootfs;
pub mod stage;
pub mod verify;

// In the version that the types of this crate are of.
pub use {ext4, layer, oci, uuid};
