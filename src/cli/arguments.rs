//! What can be asked for on the command line.

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

/// Turns container images into bootable disk images.
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
    /// Root file systems: ext4 disk images made from OCI images
    Rootfs {
        #[command(subcommand)]
        command: RootfsCommand,
    },

    /// Registries: logging in to those that do not give everything to everyone
    Registry {
        #[command(subcommand)]
        command: RegistryCommand,
    },

    /// What is kept of downloads, for builds of the same images and layers
    Cache(Cache),

    /// Says which version this is, of which commit, for which target
    Version,

    /// Prints what a shell needs to complete commands and flags
    #[command(after_help = COMPLETION_HELP)]
    Completion {
        /// The shell
        shell: Shell,
    },

    /// Writes the manual pages, for packages
    #[command(hide = true)]
    Manual {
        /// Directory to write them to
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RootfsCommand {
    /// Builds an ext4 disk image from an OCI image
    #[command(after_help = BUILD_HELP)]
    Build(Box<Build>),

    /// Looks into an ext4 disk image, without root
    Inspect(Inspect),

    /// Checks an ext4 disk image, without e2fsprogs
    Verify(Verify),

    /// Says in what two ext4 disk images differ
    Diff(Diff),
}

const BUILD_HELP: &str = "\
The same image and options give the same bytes, whenever and wherever they are built. The output appears under its \
name when it is whole, in place of an existing file; a build that fails leaves nothing.

With SOURCE_DATE_EPOCH set, newer times in the image become that time (seconds since 1970).

Examples:
  microagent rootfs build --image docker.io/library/debian@sha256:<digest> --out debian.ext4
  microagent rootfs build --image oci:./layout:latest --allow-mutable --arch arm64 --out rootfs.ext4
  microagent rootfs build --image debian:12 --allow-mutable --exec 'uname -a' --out uname.ext4

Boot the image with root=/dev/vda init=/sbin/microagent-init on the kernel's command line. The init prints \
\"microagent-init: exit status=<n>\" or \"microagent-init: exit signal=<n>\", and powers off, when the command ends.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 and 143 ended by Ctrl-C and SIGTERM.";

const COMPLETION_HELP: &str = "\
Where it goes:
  bash        microagent completion bash > ~/.local/share/bash-completion/completions/microagent
  zsh         microagent completion zsh > \"${fpath[1]}/_microagent\"
  fish        microagent completion fish > ~/.config/fish/completions/microagent.fish
  powershell  in $PROFILE: microagent completion powershell | Out-String | Invoke-Expression";

/// Arguments of `rootfs build`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct Build {
    /// Image to build from: [docker://]<registry>/<repository>@<digest>, oci:<directory>@<digest> for an OCI image
    /// layout, oci-archive:<file>, docker-archive:<file>, dir:<directory>, or tar:<file> for a tar of a root file
    /// system; with --allow-mutable also :<tag>, or none
    #[arg(long, value_name = "REF")]
    pub(super) image: String,

    /// File to write; it replaces an existing one
    #[arg(long, value_name = "PATH")]
    pub(super) out: PathBuf,

    /// Platform of the image; short for --os and --arch
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
        help = "Architecture of the image, with or without a variant: amd64 or x86_64, arm64 or aarch64, arm/v7, … \
                [default: that of this machine]"
    )]
    arch: String,

    /// Path in the image at which an init is put, to boot with init=<PATH>; none leaves the image as it is
    #[arg(long, value_name = "PATH|none", default_value = InitPath::DEFAULT, value_parser = parse_init)]
    init: InitArgument,

    /// Command for /bin/sh -c that the init runs [default: the image's Entrypoint and Cmd]
    #[arg(long, value_name = "COMMAND")]
    exec: Option<OsString>,

    /// Accept an image that is not pinned by digest, and may be another one tomorrow
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

    /// Print the SHA-256 of the file that was written
    #[arg(long)]
    digest: bool,

    /// Export the tree that is in the finished image to <OUT>.stage, and what this user cannot set there to
    /// <OUT>.stage.mtree (mtree(5)); existing ones are not replaced
    #[arg(long)]
    keep_stage: bool,

    /// Export the tree in the same way to this directory, which must not exist, and to <DIR>.mtree
    #[arg(long, value_name = "DIR")]
    stage_snapshot: Option<PathBuf>,

    /// Have this mke2fs of e2fsprogs make the file system, with the debugfs beside it or in PATH: the same tree, but bytes that
    /// depend on its version
    #[arg(long, value_name = "PATH", conflicts_with = "inline_data")]
    mke2fs: Option<PathBuf>,

    /// Threads that read, decompress, hash, apply and write layers; they change no byte of the disk image [default: one for each processor]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(NonZeroUsize))]
    threads: Option<NonZeroUsize>,

    /// Do not wait until the disk image is on the disk: quicker, and a power cut soon after can leave it damaged
    #[arg(long)]
    no_sync: bool,

    /// How to show progress on standard error: auto is bars on a terminal, plain is one line a second
    #[arg(long, value_name = "STYLE", value_enum, default_value_t = ProgressOutput::Auto)]
    pub(super) progress: ProgressOutput,

    #[command(flatten)]
    file_system: FileSystemArguments,

    #[command(flatten)]
    limits: LimitArguments,
}

impl Build {
    /// What the arguments and the environment ask for.
    ///
    /// # Errors
    ///
    /// An image or a platform that cannot be, or such a time in the environment.
    pub(super) fn options(&self) -> Result<BuildOptions, clap::Error> {
        // Not by clap, which would print a reference that it refuses, and one can hold a password.
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
        options.newest = source_date_epoch()?;
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
                "--exec needs an init to run the command, and --init is none",
            )),
        }
    }

    fn state_dir(&self, image: &Reference) -> Result<PathBuf, clap::Error> {
        match image {
            // Nothing of files is kept then.
            Reference::Layout(_) | Reference::Local(_) if !self.cache.keep_unpacked() => {
                Ok(self.state.find().unwrap_or_default())
            }
            _ => self.state.directory(),
        }
    }
}

/// What `--init` can say.
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

/// The nil UUID is refused, since file systems take it for none (e2fsck pass 0, `PR_0_ADD_UUID`).
fn parse_uuid(text: &str) -> Result<Uuid, String> {
    let uuid = text.parse::<Hyphenated>().map(Hyphenated::into_uuid).ok();
    uuid.filter(|uuid| !uuid.is_nil())
        .ok_or_else(|| "a UUID has the form 6b8e2bd4-9d23-8c5a-9a37-0b5f1d2c3e4f, and is not all zeros".to_owned())
}

/// The time that newer ones become, by the specification of reproducible-builds.org.
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
    fn flags_default_to_the_options_of_the_library() {
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
        // Of the environment.
        expected.registry.auth_files = options.registry.auth_files.clone();
        expected.newest = options.newest;
        expected.cache_limit = build.cache.limit().unwrap();
        assert_eq!(format!("{options:?}"), format!("{expected:?}"));
    }
}
