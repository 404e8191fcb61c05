//! What an image may cost, on the command line.

use clap::Args;
use layer::Limits;

/// Arguments of `rootfs build` that limit what an image may cost; layers of a few bytes can ask for anything.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
#[expect(clippy::struct_field_names, reason = "they are the names of the flags")]
pub(super) struct LimitArguments {
    /// Most MiB that the layers may have when they are unpacked, and that a disk may have without --size-mib
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().size >> 20, value_parser = clap::value_parser!(u64).range(1..=MAX_MIB))]
    max_size_mib: u64,

    /// Most entries that the layers may have; each takes some 400 bytes of memory
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().entries, value_parser = clap::value_parser!(u64).range(1..))]
    max_entries: u64,

    /// Most MiB of paths, link targets and extended attributes that the layers may have
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().metadata >> 20, value_parser = clap::value_parser!(u64).range(1..=MAX_MIB))]
    max_metadata_mib: u64,
}

/// Largest size in MiB: 16 TiB.
const MAX_MIB: u64 = 16 << 20;

impl LimitArguments {
    /// The limits that they make.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            size: self.max_size_mib << 20,
            entries: self.max_entries,
            metadata: self.max_metadata_mib << 20,
        }
    }
}
