//! Flags for the options of the file system.

use clap::Args;
use ext4::{BlockSize, Fit, Inodes, Journal, Label, Options, Size};

/// Arguments of `rootfs build` for the file system. All have defaults that suit a guest.
#[derive(Debug, Args)]
#[command(next_help_heading = "File system")]
pub(super) struct FileSystemArguments {
    /// Size of the disk in MiB, 1 to 16777216; the build fails if the image does not fit [default:
    /// the content plus free space]
    ///
    /// The free space in the default is a quarter of the content or 256 MiB, whichever is more. The
    /// default size is at least 1024.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=MAX_MIB))]
    size_mib: Option<u64>,

    /// Make the disk as small as possible with this free space in MiB, 0 to 16777216
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(0..=MAX_MIB), conflicts_with = "size_mib")]
    free_mib: Option<u64>,

    /// Label of the file system, up to 16 bytes [default: none]
    #[arg(long, value_name = "LABEL", value_parser = Label::new)]
    label: Option<Label>,

    /// Omit the journal, for disks that are never written to
    #[arg(long)]
    no_journal: bool,

    /// Size of the journal in MiB, 1 to 40000 [default: by the size of the disk; 32 for 1 GiB]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=40_000), conflicts_with = "no_journal")]
    journal_mib: Option<u64>,

    /// Minimum number of inodes, used and free, 16 to 4294967295 [default: one per 16 KiB of the
    /// disk]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(16..))]
    inodes: Option<u32>,

    /// Size of a block in bytes: 1024, 2048, 4096, or 65536, which needs a kernel with 64 KiB pages
    #[arg(long, value_name = "BYTES", default_value = "4096", value_parser = parse_block_size)]
    block_size: BlockSize,

    /// Share of blocks reserved for root, in percent, 0 to 50
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=50))]
    reserved_percent: u8,

    /// Store files of up to 128 bytes and small directories in their inodes
    #[arg(long)]
    inline_data: bool,
}

/// Largest size in MiB: 16 TiB.
const MAX_MIB: u64 = 16 << 20;

impl FileSystemArguments {
    /// Returns the options that the arguments select.
    pub(super) fn options(&self) -> Options {
        let size = match (self.size_mib, self.free_mib) {
            (Some(size), _) => Size::Fixed(size << 20),
            (None, Some(free)) => Size::Fit(Fit {
                free: free << 20,
                free_percent: 0,
                min: 0,
                ..Fit::default()
            }),
            (None, None) => Size::Fit(Fit::default()),
        };
        let journal = match self.journal_mib {
            _ if self.no_journal => Journal::None,
            Some(size) => Journal::Bytes(size << 20),
            None => Journal::Auto,
        };
        Options {
            label: self.label.unwrap_or_default(),
            block_size: self.block_size,
            size,
            inodes: self.inodes.map_or_else(Inodes::default, Inodes::AtLeast),
            journal,
            reserved_percent: self.reserved_percent,
            inline_data: self.inline_data,
            ..Options::new([0; 16])
        }
    }
}

fn parse_block_size(text: &str) -> Result<BlockSize, String> {
    [BlockSize::Kib1, BlockSize::Kib2, BlockSize::Kib4, BlockSize::Kib64]
        .into_iter()
        .find(|size| text == size.bytes().to_string())
        .ok_or_else(|| "the size of a block is 1024, 2048, 4096 or 65536 bytes".to_owned())
}
