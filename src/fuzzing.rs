//! Public entry points to private code, for the fuzz targets in `fuzz/`. Compiled with
//! `--cfg fuzzing` only.

use ext4::Output;

use crate::guest::{Guest, GuestError, Init};
use layer::RootfsBuilder;
use oci::Image;

/// Installs the default init for an image in a tree.
///
/// # Errors
///
/// [`GuestError`], as in a build.
pub fn install_init<O: Output>(image: &Image, rootfs: &mut RootfsBuilder<O>) -> Result<(), GuestError> {
    Guest::new(&Init::default(), image)?.install(rootfs)
}
