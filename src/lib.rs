//! Turns an OCI container image into a bootable ext4 disk image.

pub mod error;
pub mod image;
pub mod layer;
pub mod rootfs;
