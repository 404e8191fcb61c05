//! `microagent rootfs inspect`: a summary of a disk image, and the files in it.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ext4::read::Inode;
use layer::text::printable;
use microagent::inspect::{DiskImage, DiskSummary, FileContent, ListedEntry};
use serde::Serialize;

use super::failure::CommandError;
use super::presentation::Format;
use super::report;
use super::signals::Signals;

/// Arguments of `rootfs inspect`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Inspect {
    /// Disk image to inspect
    image: PathBuf,

    #[command(subcommand)]
    command: Option<InspectCommand>,
}

const HELP: &str = "\
Without a command, prints size, free space, label, UUID, features, and the container image that the disk image was \
built from.

Examples:
  microagent rootfs inspect rootfs.ext4
  microagent rootfs inspect rootfs.ext4 ls /etc
  microagent rootfs inspect rootfs.ext4 cat /etc/os-release
  microagent rootfs inspect rootfs.ext4 cp /usr/bin/env ./env";

#[derive(Debug, Subcommand)]
enum InspectCommand {
    /// List a directory, or a single file
    Ls {
        /// Path in the disk image
        #[arg(default_value = "/")]
        path: PathBuf,
    },
    /// Write the content of a file to standard output
    Cat {
        /// Path in the disk image
        path: PathBuf,
    },
    /// Copy a file out of the disk image; holes stay holes
    Cp {
        /// Path in the disk image
        path: PathBuf,
        /// File to write; replaces an existing file
        to: PathBuf,
    },
}

impl Inspect {
    pub(super) fn run(&self, format: Format) -> Result<(), CommandError> {
        let text = match &self.command {
            None => {
                let found = self.open()?.summary().map_err(CommandError::Inspect)?;
                summary(&self.image, &found, format)
            }
            Some(InspectCommand::Ls { path }) => {
                let entries = self.open()?.list(bytes(path)).map_err(CommandError::Inspect)?;
                listing(path, &entries, format)
            }
            Some(InspectCommand::Cat { path }) => {
                return cat(self.open()?.content(bytes(path)).map_err(CommandError::Inspect)?);
            }
            Some(InspectCommand::Cp { path, to }) => copied(path, to, self.copy(path, to)?, format),
        };
        text.and_then(|text| report::write_stdout(text.as_bytes()))
            .map_err(CommandError::Report)
    }

    fn open(&self) -> Result<DiskImage, CommandError> {
        DiskImage::open(&self.image).map_err(CommandError::Inspect)
    }

    /// Copies a file, and returns its size in bytes. Only this command handles signals: the others
    /// leave nothing to clean up.
    fn copy(&self, path: &Path, to: &Path) -> Result<u64, CommandError> {
        let signals = Signals::listen().map_err(CommandError::SignalSetup)?;
        let failed = |failure| match signals.exit_status() {
            Some(status) => CommandError::Interrupted { status },
            None => failure,
        };
        let disk = DiskImage::open_until(&self.image, signals.cancel());
        let disk = disk.map_err(|error| failed(CommandError::Inspect(error)))?;
        let copied = disk.copy(bytes(path), to);
        copied.map_err(|error| failed(CommandError::Copy(error)))
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

fn summary(path: &Path, summary: &DiskSummary, format: Format) -> io::Result<String> {
    if format == Format::Json {
        return Ok(serde_json::to_string(summary)? + "\n");
    }
    let mib = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
    let (image, platform, version) = match &summary.provenance {
        Some(of) => (
            printable(of.digest.as_bytes()),
            printable(of.platform.as_deref().unwrap_or("unknown").as_bytes()),
            printable(format!("microagent {}", of.version).as_bytes()),
        ),
        None => ["unknown"; 3].map(str::to_owned).into(),
    };
    let mut text = format!("{}\n", path.display());
    for (name, value) in [
        ("image", image),
        ("platform", platform),
        ("built by", version),
        (
            "size",
            format!(
                "{}, {} used, {} MiB free",
                mib(summary.size_bytes),
                mib(summary.used_bytes),
                summary.free_bytes >> 20
            ),
        ),
        (
            "inodes",
            format!("{} used, {} free", summary.inode_count, summary.free_inode_count),
        ),
        ("label", printable(&summary.label)),
        ("uuid", summary.uuid.to_string()),
        ("features", summary.features.join(" ")),
    ] {
        let line = format!("  {name:<9} {value}");
        writeln!(text, "{}", line.trim_end()).expect("writing to a string does not fail");
    }
    if summary.needs_recovery {
        text += "  not cleanly unmounted: shown as after a replay of the journal\n";
    }
    Ok(text)
}

/// JSON form of a listing.
#[derive(Serialize)]
struct JsonListing<'a> {
    path: String,
    entries: &'a [ListedEntry],
}

fn listing(path: &Path, entries: &[ListedEntry], format: Format) -> io::Result<String> {
    if format == Format::Json {
        let json = JsonListing {
            path: path.to_string_lossy().into_owned(),
            entries,
        };
        return Ok(serde_json::to_string(&json)? + "\n");
    }
    let mut text = String::new();
    for entry in entries {
        let Inode {
            file_type,
            mode,
            uid,
            gid,
            size,
            ..
        } = &entry.inode;
        let target = entry
            .target
            .as_deref()
            .map(|target| format!(" -> {}", printable(target)));
        let (name, target) = (printable(&entry.name), target.unwrap_or_default());
        writeln!(
            text,
            "{mode:04o} {uid:>5} {gid:>5} {size:>11} {file_type:<16} {name}{target}"
        )
        .expect("writing to a string does not fail");
    }
    Ok(text)
}

fn cat(mut content: FileContent) -> Result<(), CommandError> {
    let mut buffer = vec![0; 128 << 10];
    let mut stdout = io::stdout().lock();
    let mut copy = || loop {
        match content.read(&mut buffer)? {
            0 => return stdout.flush(),
            len => stdout.write_all(&buffer[..len])?,
        }
    };
    match copy() {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(error
            .downcast()
            .map_or_else(CommandError::Report, CommandError::Inspect)),
        Ok(()) => Ok(()),
    }
}

/// JSON form of a copy.
#[derive(Serialize)]
struct JsonCopied {
    path: String,
    output_path: String,
    size_bytes: u64,
}

fn copied(path: &Path, to: &Path, size_bytes: u64, format: Format) -> io::Result<String> {
    if format == Format::Text {
        return Ok(format!("copied {} to {}\n", path.display(), to.display()));
    }
    let json = JsonCopied {
        path: path.to_string_lossy().into_owned(),
        output_path: to.to_string_lossy().into_owned(),
        size_bytes,
    };
    Ok(serde_json::to_string(&json)? + "\n")
}
