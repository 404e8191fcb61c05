//! Flags for limits on the size of an image.

use clap::Args;
use layer::Limits;

/// Arguments of `rootfs build` that limit the resources for an image. Layers of a few bytes can
/// unpack to any size.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
#[expect(clippy::struct_field_names, reason = "they are the names of the flags")]
pub(super) struct LimitArguments {
    /// Limit in MiB on the unpacked size of all layers, and on the disk without --size-mib
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().size >> 20, value_parser = clap::value_parser!(u64).range(1..=MAX_MIB))]
    max_size_mib: u64,

    /// Limit on the number of entries in all layers; each takes about 400 bytes of memory
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().entries, value_parser = clap::value_parser!(u64).range(1..))]
    max_entries: u64,

    /// Limit in MiB on paths, link targets and extended attributes in all layers
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().metadata >> 20, value_parser = clap::value_parser!(u64).range(1..=MAX_MIB))]
    max_metadata_mib: u64,
}

/// Largest size in MiB: 16 TiB.
const MAX_MIB: u64 = 16 << 20;

impl LimitArguments {
    /// Returns the limits that the arguments select.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            size: self.max_size_mib << 20,
            entries: self.max_entries,
            metadata: self.max_metadata_mib << 20,
        }
    }
}
