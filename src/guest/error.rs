//! Errors of installing an init in an image.

use ext4::{FormatError, TreeError};

use layer::failure::{ErrorKind, Failure, Hint, Setting};
use layer::{LayerErrorKind, Printable};
use oci::Platform;

/// Largest number of characters of a variable in a message. The whole may have megabytes.
const MAX_SHOWN: usize = 64;

/// Returns the beginning of a text, for a message.
fn shorten(text: &str) -> String {
    let mut shortened: String = text.chars().take(MAX_SHOWN).collect();
    if shortened.len() < text.len() {
        shortened.push('…');
    }
    shortened
}

/// Reason why an init cannot be installed in an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// The platform has no init.
    #[error("there is no init for {platform}, only for linux/amd64 and linux/arm64")]
    Platform {
        /// The image's platform.
        platform: Box<Platform>,
    },
    /// The image has neither an entrypoint nor a command, and the caller gave none.
    #[error("the image has no command to run: neither Entrypoint nor Cmd is set")]
    NoCommand,
    /// The command needs a shell, and the image has none.
    #[error("there is no shell to run the command: /bin/sh is not an executable file in the image")]
    NoShell,
    /// A variable of the environment without a name or a value.
    #[error("{:?} in Env is not of the form NAME=value", shorten(entry))]
    Variable {
        /// The entry as the config has it.
        entry: String,
    },
    /// A NUL in an argument, variable or path of the config.
    #[error("{what} holds a NUL")]
    Nul {
        /// The field of the config.
        what: &'static str,
    },
    /// A signal that Linux does not have.
    #[error("StopSignal {name:?} is not a signal of Linux")]
    StopSignal {
        /// The signal as the config has it.
        name: String,
    },
    /// A user that the image's /etc/passwd does not have.
    #[error("the user {name:?} is not in the image's /etc/passwd")]
    UnknownUser {
        /// The name as the config has it.
        name: String,
    },
    /// A group that the image's /etc/group does not have.
    #[error("the group {name:?} is not in the image's /etc/group")]
    UnknownGroup {
        /// The name as the config has it.
        name: String,
    },
    /// A uid or gid above the largest that container engines accept.
    #[error("User {user:?}: uid and gid can be {max} at most")]
    IdTooLarge {
        /// The user as the config has it.
        user: String,
        /// Largest uid or gid.
        max: u32,
    },
    /// More groups than a process may have (`NGROUPS_MAX`).
    #[error("the user {user:?} would be in {count} groups: Linux lets a process have at most {max}")]
    TooManyGroups {
        /// The user as the config has it.
        user: String,
        /// Number of groups of the user.
        count: usize,
        /// Largest number of groups of a process.
        max: usize,
    },
    /// An argument that is too long for `execve`.
    #[error("argument {number} of the command has {len} bytes: Linux passes at most {max} to a program")]
    ArgumentTooLong {
        /// Position in the command; 0 is the program.
        number: usize,
        /// Length in bytes.
        len: usize,
        /// Longest length in bytes.
        max: usize,
    },
    /// A variable that is too long for `execve`.
    #[error(
        "the variable {:?} has {len} bytes, its name included: Linux passes at most {max} to a program",
        shorten(name)
    )]
    VariableTooLong {
        /// Name of the variable.
        name: String,
        /// Length of `NAME=value` in bytes.
        len: usize,
        /// Longest length in bytes.
        max: usize,
    },
    /// Arguments and variables that are too large for `execve` together.
    #[error(
        "the command and its environment have {len} bytes, 8 for each argument and variable included: Linux passes \
         at most {max} to a program"
    )]
    CommandTooLarge {
        /// Bytes of all arguments and variables, their addresses, and what a script adds.
        len: usize,
        /// Largest number of bytes.
        max: usize,
    },
    /// A path that is too long for a system call.
    #[error("{what} has a path of {len} bytes: Linux takes at most {max}")]
    PathTooLong {
        /// Directory or file that has the path.
        what: &'static str,
        /// Length in bytes.
        len: usize,
        /// Longest length in bytes.
        max: usize,
    },
    /// A file of the image is too large to be read.
    #[error("{path} has {len} bytes: at most {max} are read")]
    TooLarge {
        /// Path in the image.
        path: &'static str,
        /// Size in bytes.
        len: u64,
        /// Largest size in bytes.
        max: u64,
    },
    /// A file of another type at the path of a directory.
    #[error("\"/{}\" is not a directory in the image", Printable(.path))]
    NotADirectory {
        /// Path in the image, without its first slash.
        path: Vec<u8>,
    },
    /// The image has a directory at the path of the init.
    #[error("the init cannot be at {path}: the image has a directory there")]
    InitPathIsDirectory {
        /// Path in the image.
        path: String,
    },
    /// The path of the init is that of the command that it would run.
    #[error("the init cannot be at {path}: that is the command that it would run")]
    RunsItself {
        /// Path in the image.
        path: String,
    },
    /// A path that cannot be resolved.
    #[error("could not follow \"{}\" in the image", Printable(.path))]
    Path {
        /// Path in the image.
        path: Vec<u8>,
        /// Reason.
        #[source]
        source: LayerErrorKind,
    },
    /// The init could not be added to the tree.
    #[error("could not add the init to the image")]
    Tree(#[from] TreeError),
    /// The disk image could not be read or written.
    #[error("could not add the init to the image")]
    Image(#[from] FormatError),
    /// A file of the image could not be read back from the disk image.
    #[error("could not read {path} back from the disk image")]
    Read {
        /// Path in the image.
        path: &'static str,
        /// Error of the output.
        #[source]
        source: std::io::Error,
    },
}

impl Failure for GuestError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Platform { .. } | Self::TooLarge { .. } => ErrorKind::Unsupported,
            Self::NoShell | Self::UnknownUser { .. } | Self::UnknownGroup { .. } => ErrorKind::NotFound,
            Self::InitPathIsDirectory { .. } | Self::RunsItself { .. } => ErrorKind::Conflict,
            Self::Read { source, .. } => source.kind().into(),
            Self::Image(error) => error.kind(),
            _ => ErrorKind::Permanent,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let omit = |text: &'static str| Hint::from(text).with(Setting::NoInit);
        Some(match self {
            Self::Platform { .. } => omit("omit the init").and(", and boot with one of your own"),
            Self::NoCommand => Hint::from("give a command to run")
                .with(Setting::Command)
                .and(omit(", or omit the init"))
                .and(" and boot with the image's own"),
            Self::NoShell => Hint::from("omit ")
                .about(Setting::Command, "{}", "the command")
                .and(" to run the image's own command, or build an image with the command that you want"),
            Self::ArgumentTooLong { .. } | Self::VariableTooLong { .. } | Self::CommandTooLarge { .. } => {
                Hint::from("shorten Entrypoint, Cmd or Env in the image's config, run a shorter command")
                    .with(Setting::Command)
                    .and(omit(", or omit the init"))
            }
            Self::TooManyGroups { .. } => {
                omit("list the user in fewer groups of the image's /etc/group, or omit the init")
            }
            Self::InitPathIsDirectory { .. } | Self::RunsItself { .. } => {
                Hint::from("name another path").with(Setting::Init)
            }
            Self::Image(error) => return error.hint(),
            Self::Read { source, .. } => return Hint::on_write(source.kind()),
            Self::Tree(_) => return None,
            _ => omit("correct the image's config, or omit the init"),
        })
    }
}
