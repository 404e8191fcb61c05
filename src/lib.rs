//! Turns an OCI container image into a bootable ext4 disk image.

pub mod image;
pub mod layer;
