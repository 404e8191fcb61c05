//! Ways into what has no other, for the targets in `fuzz/`; only there with `--cfg fuzzing`.

use ext4::Output;

use crate::guest::{Guest, GuestError, Init};
use layer::RootfsBuilder;
use oci::Image;

/// Puts the init for an image into a tree.
///
/// # Errors
///
/// As a build does.
pub fn install_init<O: Output>(image: &Image, rootfs: &mut RootfsBuilder<O>) -> Result<(), GuestError> {
    Guest::new(&Init::default(), image)?.install(rootfs)
}
