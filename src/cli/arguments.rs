//! Arguments of all commands, and those of `rootfs build` in full.
//!
//! A new flag of `rootfs build` touches these places:
//! - the argument with its help text, here or in one of the flattened groups (`cache`, `state`,
//!   `registry`, `file_system`, `limits`, `presentation`), and its conversion in
//!   [`Build::options`];
//! - a field of `BuildOptions` in `rootfs::options`, with the same default: a test below compares
//!   them;
//! - the table of flags in README.md, in the same words as the help text;
//! - `tests/cli/arguments.rs`: the list of flags that `--help` shows, and values that are refused;
//! - a `Setting` and its name in `hints`, if an error advises to use the flag.
//!
//! An option that changes how layers are applied goes on from `BuildOptions` to
//! `layer::LayerOptions`, in `apply_layer` of `src/rootfs.rs`.
//!
//! Shell completions and manual pages are generated from these types.

use std::env;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use ext4::Timestamp;
use microagent::guest::{Init, InitPath, InitPathError};
use microagent::rootfs::BuildOptions;
use oci::{Platform, Reference};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::cache::Cache;
use super::diff::Diff;
use super::file_system::FileSystemArguments;
use super::inspect::Inspect;
use super::limits::LimitArguments;
use super::presentation::PresentationArguments;
use super::progress::ProgressOutput;
use super::registry::{RegistryArguments, RegistryCommand};
use super::state::{CacheArguments, StateArguments};
use super::verify::Verify;

const EPOCH_VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// Build bootable disk images from container images
#[derive(Debug, Parser)]
#[command(name = "microagent", version, propagate_version = true, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) presentation: PresentationArguments,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Build, inspect, verify and compare disk images
    Rootfs {
        #[command(subcommand)]
        command: RootfsCommand,
    },

    /// Log in to private registries
    Registry {
        #[command(subcommand)]
        command: RegistryCommand,
    },

    /// List, remove or verify cached downloads
    Cache(Cache),

    /// Print version, commit and target of this program
    Version,

    /// Print a script that completes commands and flags in a shell
    #[command(after_help = COMPLETION_HELP)]
    Completion {
        /// Shell to print the script for
        shell: Shell,
    },

    /// Write the manual pages, for packages
    #[command(hide = true)]
    Manual {
        /// Directory to write to; created if it is missing
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RootfsCommand {
    /// Build an ext4 disk image from an OCI image
    #[command(after_help = BUILD_HELP)]
    Build(Box<Build>),

    /// Show an ext4 disk image and the files in it, without root
    Inspect(Inspect),

    /// Check an ext4 disk image for errors, without e2fsprogs
    Verify(Verify),

    /// Compare two ext4 disk images
    Diff(Diff),
}

const BUILD_HELP: &str = "\
The same image and options produce the same bytes, on any machine and at any time. The disk image appears at <PATH> \
only when it is complete, and replaces an existing file. A failed build leaves no output and no temporary file; downloads stay in the cache.

If SOURCE_DATE_EPOCH is set, newer times in the image become that time (seconds since 1970).

Examples:
  microagent rootfs build --image docker.io/library/debian@sha256:<digest> --out debian.ext4
  microagent rootfs build --image oci:./layout:latest --allow-mutable --arch arm64 --out rootfs.ext4
  microagent rootfs build --image debian:12 --allow-mutable --exec 'uname -a' --out uname.ext4

Boot the disk image with root=/dev/vda init=/sbin/microagent-init on the kernel command line. When the command ends, \
the init prints \"microagent-init: exit status=<n>\" or \"microagent-init: exit signal=<n>\", and powers off.

Exit status: 0 success, 1 failure, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.";

const COMPLETION_HELP: &str = "\
Install the script with one of:
  bash        microagent completion bash > ~/.local/share/bash-completion/completions/microagent
  zsh         microagent completion zsh > \"${fpath[1]}/_microagent\"
  fish        microagent completion fish > ~/.config/fish/completions/microagent.fish
  powershell  in $PROFILE: microagent completion powershell | Out-String | Invoke-Expression";

/// Arguments of `rootfs build`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct Build {
    /// Image to build from: in a registry, or in files on this machine
    ///
    /// [docker://]<registry>/<repository>@<digest> for an image in a registry,
    /// oci:<directory>@<digest> for an OCI image layout, oci-archive:<file>, docker-archive:<file>,
    /// dir:<directory>, or tar:<file> for a tar of a root file system. With --allow-mutable, :<tag>
    /// may replace the digest, or both may be omitted.
    #[arg(long, value_name = "REF")]
    pub(super) image: String,

    /// Disk image to write; replaces an existing file
    #[arg(long, value_name = "PATH")]
    pub(super) out: PathBuf,

    /// Platform of the image, instead of --os and --arch
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", conflicts_with_all = ["os", "arch"])]
    platform: Option<String>,

    /// Operating system of the image
    #[arg(long, value_name = "OS", default_value = "linux")]
    os: String,

    #[arg(
        long,
        value_name = "ARCH",
        default_value = Platform::host_architecture(),
        hide_default_value = true,
        help = "Architecture of the image, with an optional variant: amd64 or x86_64, arm64 or aarch64, arm/v7, … \
                [default: that of this machine]"
    )]
    arch: String,

    /// Path in the image at which to install the init, to boot with init=<PATH>; none installs no
    /// init
    #[arg(long, value_name = "PATH|none", default_value = InitPath::DEFAULT, value_parser = parse_init)]
    init: InitArgument,

    /// Command that the init runs with /bin/sh -c [default: the image's Entrypoint and Cmd]
    #[arg(long, value_name = "COMMAND")]
    exec: Option<OsString>,

    /// Accept an image that is not pinned by digest; later builds may get another image
    #[arg(long)]
    allow_mutable: bool,

    #[command(flatten)]
    state: StateArguments,

    #[command(flatten)]
    cache: CacheArguments,

    #[command(flatten)]
    registry: RegistryArguments,

    /// UUID of the file system [default: derived from the digest of the image]
    #[arg(long, value_name = "UUID", value_parser = parse_uuid)]
    uuid: Option<Uuid>,

    /// Print the SHA-256 digest of the disk image
    #[arg(long)]
    digest: bool,

    /// Export the tree of the finished disk image to <OUT>.stage, described in <OUT>.stage.mtree
    ///
    /// The description, in the format of mtree(5), has all metadata, including what this user
    /// cannot set on files. Existing files are not replaced.
    #[arg(long)]
    keep_stage: bool,

    /// Export the tree like --keep-stage, to this directory and <DIR>.mtree, which must not exist
    #[arg(long, value_name = "DIR")]
    stage_snapshot: Option<PathBuf>,

    /// Create the file system with this mke2fs of e2fsprogs
    ///
    /// Uses the debugfs beside it or in PATH. The tree is the same, but the bytes depend on the
    /// version of e2fsprogs. Takes more time, and space for a copy of the content beside the disk
    /// image.
    #[arg(long, value_name = "PATH", conflicts_with = "inline_data")]
    mke2fs: Option<PathBuf>,

    /// Number of threads for layers; does not affect the bytes [default: one per processor]
    ///
    /// They read, decompress, hash, apply and write layers.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(NonZeroUsize))]
    threads: Option<NonZeroUsize>,

    /// Skip the fsync of the disk image: faster, but a power cut soon after can leave it damaged
    #[arg(long)]
    no_sync: bool,

    /// Progress on standard error: auto for bars on a terminal, plain for one line a second, or
    /// none
    #[arg(long, value_name = "STYLE", value_enum, default_value_t = ProgressOutput::Auto)]
    pub(super) progress: ProgressOutput,

    #[command(flatten)]
    file_system: FileSystemArguments,

    #[command(flatten)]
    limits: LimitArguments,
}

impl Build {
    /// Returns the options that the arguments and the environment select.
    ///
    /// # Errors
    ///
    /// An invalid image, platform or combination of flags, or an invalid environment variable.
    pub(super) fn options(&self) -> Result<BuildOptions, clap::Error> {
        // clap would repeat an invalid reference in its error, and a reference can hold a password.
        let image = Reference::parse(&self.image).map_err(|error| invalid("--image", &error))?;
        let platform = self.platform()?;
        let state_dir = self.state_dir(&image)?;
        let mut options = BuildOptions::new(image);
        options.state_dir = state_dir;
        options.cache_limit = self.cache.limit()?;
        options.keep_unpacked = self.cache.keep_unpacked();
        options.registry = self.registry.options();
        options.platform = platform;
        options.allow_mutable = self.allow_mutable;
        options.file_system = self.file_system.options();
        options.uuid = self.uuid;
        options.init = self.init()?;
        options.max_time = source_date_epoch()?;
        options.mke2fs.clone_from(&self.mke2fs);
        options.digest = self.digest;
        options.keep_stage = self.keep_stage;
        options.stage_snapshot.clone_from(&self.stage_snapshot);
        options.threads = self.threads.unwrap_or(options.threads);
        options.sync = !self.no_sync;
        options.limits = self.limits.limits();
        Ok(options)
    }

    fn platform(&self) -> Result<Platform, clap::Error> {
        match &self.platform {
            Some(platform) => platform.parse().map_err(|error| invalid("--platform", &error)),
            None => Platform::parse(&self.os, &self.arch).map_err(|error| invalid("--os and --arch", &error)),
        }
    }

    fn init(&self) -> Result<Option<Init>, clap::Error> {
        let exec = self.exec.clone().map(OsString::into_encoded_bytes);
        match &self.init {
            InitArgument::Path(path) => {
                let mut init = Init::new(path.clone());
                init.exec = exec;
                Ok(Some(init))
            }
            InitArgument::None if exec.is_none() => Ok(None),
            InitArgument::None => Err(clap::Error::raw(
                ErrorKind::ArgumentConflict,
                "--exec needs an init to run the command: omit --exec or --init none",
            )),
        }
    }

    fn state_dir(&self, image: &Reference) -> Result<PathBuf, clap::Error> {
        match image {
            // Builds from files use no cache, so they need no state directory.
            Reference::Layout(_) | Reference::Local(_) if !self.cache.keep_unpacked() => {
                Ok(self.state.find().unwrap_or_default())
            }
            _ => self.state.directory(),
        }
    }
}

/// Value of `--init`.
#[derive(Debug, Clone)]
enum InitArgument {
    Path(InitPath),
    None,
}

fn parse_init(text: &str) -> Result<InitArgument, InitPathError> {
    match text {
        "none" => Ok(InitArgument::None),
        path => path.parse().map(InitArgument::Path),
    }
}

fn invalid(what: &str, error: &dyn std::error::Error) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{what}: {error}"))
}

/// Parses a UUID. Rejects the nil UUID, which file systems treat as a missing UUID (e2fsck pass 0,
/// `PR_0_ADD_UUID`).
fn parse_uuid(text: &str) -> Result<Uuid, String> {
    let uuid = text.parse::<Hyphenated>().map(Hyphenated::into_uuid).ok();
    uuid.filter(|uuid| !uuid.is_nil())
        .ok_or_else(|| "a UUID has the form 6b8e2bd4-9d23-8c5a-9a37-0b5f1d2c3e4f and is not all zeros".to_owned())
}

/// Returns the time from `SOURCE_DATE_EPOCH` that replaces newer times, by the specification of
/// reproducible-builds.org.
fn source_date_epoch() -> Result<Option<Timestamp>, clap::Error> {
    let Some(value) = env::var_os(EPOCH_VARIABLE).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let value = value.to_string_lossy();
    match value.parse() {
        Ok(seconds) if value.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(Timestamp::saturating(seconds, 0))),
        _ => Err(clap::Error::raw(
            ErrorKind::InvalidValue,
            format!("{EPOCH_VARIABLE} is {value:?}: it must be the seconds since 1970, in digits only"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_the_defaults_of_the_library() {
        let arguments = ["microagent", "rootfs", "build", "--image", "oci:x", "--out", "y"];
        let arguments = Arguments::try_parse_from(arguments).unwrap();
        let Command::Rootfs {
            command: RootfsCommand::Build(build),
        } = arguments.command
        else {
            panic!("{arguments:?}");
        };
        let options = build.options().unwrap();
        let mut expected = BuildOptions::new("oci:x".parse().unwrap());
        // These come from the environment.
        expected.registry.auth_files = options.registry.auth_files.clone();
        expected.max_time = options.max_time;
        expected.cache_limit = build.cache.limit().unwrap();
        assert_eq!(format!("{options:?}"), format!("{expected:?}"));
    }
}
