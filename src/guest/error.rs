//! Why an image cannot run as a machine.

use ext4::{FormatError, TreeError};

use crate::image::Platform;
use crate::layer::{LayerErrorKind, Printable};

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
    #[error("{entry:?} in Env is not of the form NAME=value")]
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
    Taken {
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
