//! Why an image cannot run as a machine.

use ext4::{FormatError, TreeError};

use layer::failure::{ErrorKind, Failure, Hint, Setting};
use layer::{LayerErrorKind, Printable};
use oci::Platform;

/// Longest part in characters that a message shows of a variable: the whole may have megabytes.
const MAX_SHOWN: usize = 64;

/// The shortened of a text, as far as a message shows it.
fn shorten(text: &str) -> String {
    let mut shortened: String = text.chars().take(MAX_SHOWN).collect();
    if shortened.len() < text.len() {
        shortened.push('…');
    }
    shortened
}

/// What an image lacks, or has in the way, to run as a machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// There is no init for the platform.
    #[error("there is no init for {platform}, only for linux/amd64 and linux/arm64")]
    Platform {
        /// The image's platform.
        platform: Box<Platform>,
    },
    /// The image has neither an entrypoint nor a command, and none was given.
    #[error("the image says no command to run: it has neither Entrypoint nor Cmd")]
    NoCommand,
    /// A command for the shell, but the image has none.
    #[error("there is no shell to run the command: /bin/sh is not an executable file in the image")]
    NoShell,
    /// A variable of the environment without a name or a value.
    #[error("{:?} in Env is not of the form NAME=value", shorten(entry))]
    Variable {
        /// The entry as the config has it.
        entry: String,
    },
    /// A byte in the config that no argument, variable or path can have.
    #[error("{what} holds a NUL")]
    Nul {
        /// The field of the config.
        what: &'static str,
    },
    /// A signal that Linux does not have.
    #[error("StopSignal {name:?} is no signal")]
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
    /// A user or group beyond what container engines accept.
    #[error("User {user:?}: a number goes to {max}")]
    IdTooLarge {
        /// The user as the config has it.
        user: String,
        /// Largest number.
        max: u32,
    },
    /// More groups than a process can have (`NGROUPS_MAX`).
    #[error("the user {user:?} would be in {count} groups: Linux lets a process have at most {max}")]
    TooManyGroups {
        /// The user as the config has it.
        user: String,
        /// Groups of the user.
        count: usize,
        /// Most groups of a process.
        max: usize,
    },
    /// An argument that Linux does not pass to a program.
    #[error("argument {number} of the command has {len} bytes: Linux passes at most {max} to a program")]
    ArgumentTooLong {
        /// Position in the command; 0 is the program.
        number: usize,
        /// Length in bytes.
        len: usize,
        /// Longest length in bytes.
        max: usize,
    },
    /// A variable of the environment that Linux does not pass to a program.
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
    /// More arguments and variables than Linux passes to a program.
    #[error(
        "the command and its environment have {len} bytes, 8 for each argument and variable included: Linux passes \
         at most {max} to a program"
    )]
    CommandTooLarge {
        /// Bytes of all arguments and variables, of their addresses, and of what a script adds.
        len: usize,
        /// Most bytes.
        max: usize,
    },
    /// A path that no system call takes.
    #[error("{what} has a path of {len} bytes: Linux takes at most {max}")]
    PathTooLong {
        /// The directory or file that the path is of.
        what: &'static str,
        /// Length in bytes.
        len: usize,
        /// Longest length in bytes.
        max: usize,
    },
    /// A file that was to be read is far larger than it can be.
    #[error("{path} has {len} bytes: more than {max} are not read")]
    TooLarge {
        /// Path in the image.
        path: &'static str,
        /// Size in bytes.
        len: u64,
        /// Largest size in bytes that is read.
        max: u64,
    },
    /// What must be a directory is something else.
    #[error("\"/{}\" is not a directory in the image", Printable(.path))]
    NotADirectory {
        /// Path in the image, without its first slash.
        path: Vec<u8>,
    },
    /// The path of the init is a directory.
    #[error("the init cannot be at {path}: there is a directory in the image")]
    InitPathIsDirectory {
        /// Path in the image.
        path: String,
    },
    /// The init would be in the place of what it is to run.
    #[error("the init cannot be at {path}: that is what it is to run")]
    RunsItself {
        /// Path in the image.
        path: String,
    },
    /// A path that leads nowhere.
    #[error("could not follow \"{}\" in the image", Printable(.path))]
    Path {
        /// Path in the image.
        path: Vec<u8>,
        /// Why not.
        #[source]
        source: LayerErrorKind,
    },
    /// The tree cannot take the init.
    #[error("could not add to the image")]
    Tree(#[from] TreeError),
    /// The disk image could not be read or written.
    #[error("could not add to the image")]
    Image(#[from] FormatError),
    /// A file of the image could not be read back from the disk image.
    #[error("could not read {path} back from the disk image")]
    Read {
        /// Path in the image.
        path: &'static str,
        /// What the disk said.
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
            Self::Platform { .. } => omit("leave the init away").and(", and boot with one of your own"),
            Self::NoCommand => Hint::from("say what to run")
                .with(Setting::Command)
                .and(omit(", or leave the init away"))
                .and(" and boot with the image's own"),
            Self::NoShell => Hint::from("leave ")
                .about(Setting::Command, "{}", "the command")
                .and(" away to run the image's own command, or build an image whose command is what you want"),
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
            _ => omit("correct the image's config, or leave the init away"),
        })
    }
}
