//! Kinds of errors for programs, and hints for users.
//!
//! Each error implements [`Failure`] in the file that defines it. Errors of `ext4` implement it
//! here.
//!
//! To add a kind: a variant of [`ErrorKind`] and its word in [`ErrorKind::as_str`]. The word is
//! `kind` in the JSON of the command: a new one belongs in README.md's list too. Exit statuses do
//! not depend on kinds, but on the command that failed: see `print` in `src/cli/failure.rs`. Tests:
//! `tests/cli/failures.rs`.
//!
//! To add a setting that hints may name: a variant of [`Setting`], and its flag or command in
//! `src/cli/hints.rs`, in `setting_name` and in the test there.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;

use ext4::read::LookupError;
use ext4::{FormatError, ReadError, TreeError};

/// An error with a kind for programs and a hint for users.
pub trait Failure: Error {
    /// Returns the kind of the failure.
    fn kind(&self) -> ErrorKind;

    /// Returns advice for the user. Returns `None` if the message of the error is enough.
    fn hint(&self) -> Option<Hint> {
        None
    }
}

/// Kind of a failure, by what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A retry may succeed.
    Transient,
    /// A retry fails again.
    Permanent,
    /// Something else exists at the path of the output.
    Conflict,
    /// Something that the caller named does not exist.
    NotFound,
    /// The disk or the user's quota is full.
    StorageFull,
    /// The content does not fit the requested size of the disk image.
    ImageTooSmall,
    /// The system has no memory left.
    OutOfMemory,
    /// A limit of the system is reached: on threads, or on the size of a file.
    SystemLimit,
    /// The image has content that this program cannot make a file system of.
    Unsupported,
    /// The image exceeds a limit that the caller set.
    LimitExceeded,
    /// The operation is possible, but not allowed.
    PolicyDenied,
}

impl ErrorKind {
    /// Returns the word for the kind in the JSON of the command. Kinds that differ only in the
    /// resource that is used up, or in the policy that forbids, share a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Conflict => "conflict",
            Self::NotFound => "not_found",
            Self::StorageFull | Self::ImageTooSmall | Self::OutOfMemory | Self::SystemLimit => "resource_exhausted",
            Self::Unsupported => "unsupported",
            Self::LimitExceeded | Self::PolicyDenied => "policy_denied",
        }
    }
}

impl From<io::ErrorKind> for ErrorKind {
    fn from(kind: io::ErrorKind) -> Self {
        match kind {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::StorageFull,
            io::ErrorKind::FileTooLarge => Self::SystemLimit,
            io::ErrorKind::OutOfMemory => Self::OutOfMemory,
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::ResourceBusy
            | io::ErrorKind::StaleNetworkFileHandle
            | io::ErrorKind::TimedOut
            | io::ErrorKind::WouldBlock => Self::Transient,
            io::ErrorKind::AlreadyExists | io::ErrorKind::IsADirectory => Self::Conflict,
            io::ErrorKind::Unsupported => Self::Unsupported,
            _ => Self::Permanent,
        }
    }
}

/// Advice on a failure, as text for the user.
///
/// It may mention settings, which each program gives its users under names of its own, such as
/// flags. [`Hint::naming`] inserts these names. [`Display`](fmt::Display) omits them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hint(Vec<HintPart>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum HintPart {
    Text(Cow<'static, str>),
    Setting {
        setting: Setting,
        /// Text with `{}` in place of the setting's name.
        named: Cow<'static, str>,
        /// Text for programs without a name for the setting.
        unnamed: Cow<'static, str>,
    },
}

/// A setting or command of a program that a [`Hint`] mentions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setting {
    /// The image to build.
    Image,
    /// Permission to use an image that is not pinned by digest.
    AllowMutable,
    /// The platform of the image.
    Platform,
    /// The path of the disk image.
    Output,
    /// The size of the disk image.
    Size,
    /// The block size of the file system.
    BlockSize,
    /// The limit on the size of the content.
    MaxSize,
    /// The limit on the number of entries of the layers.
    MaxEntries,
    /// The limit on the metadata of the layers.
    MaxMetadata,
    /// The directory that keeps downloads.
    StateDirectory,
    /// The file with credentials for registries.
    CredentialsFile,
    /// The command that logs in to a registry.
    Login {
        /// Host and port of the registry.
        registry: String,
    },
    /// Permission to use plain HTTP.
    PlainHttp,
    /// The file with certificates of additional authorities.
    Authority,
    /// The path of the init in the image.
    Init,
    /// The setting that omits the init.
    NoInit,
    /// The command that the init runs.
    Command,
    /// The program that writes the disk image instead of this library.
    Mke2fs,
    /// The directory to which the tree is exported.
    Stage,
    /// The command that inspects a disk image.
    Inspect,
    /// The command that lists a directory of a disk image.
    List,
    /// The command that prints a file of a disk image.
    Print,
    /// The command that checks a disk image.
    Verify,
}

const MIB: u64 = 1 << 20;

impl Hint {
    /// Appends more text.
    #[must_use]
    pub fn and(mut self, more: impl Into<Self>) -> Self {
        self.0.extend(more.into().0);
        self
    }

    /// Appends text about a setting: `named`, with the setting's name in place of `{}`, or
    /// `unnamed` for programs without a name for it.
    #[must_use]
    pub fn about(
        mut self,
        setting: Setting,
        named: impl Into<Cow<'static, str>>,
        unnamed: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.0.push(HintPart::Setting {
            setting,
            named: named.into(),
            unnamed: unnamed.into(),
        });
        self
    }

    /// Appends "with" and the name of a setting.
    #[must_use]
    pub fn with(self, setting: Setting) -> Self {
        self.about(setting, " with {}", "")
    }

    /// Appends a value in MiB for a setting, rounded up from bytes.
    #[must_use]
    pub fn mib(self, setting: Setting, bytes: u64) -> Self {
        let mib = bytes.div_ceil(MIB);
        self.about(setting, mib.to_string(), format!("{mib} MiB"))
    }

    /// Returns the advice to raise a limit.
    #[must_use]
    pub fn raise(limit: Setting) -> Self {
        Self::from("if you trust the image, raise the limit").with(limit)
    }

    /// Returns the advice to raise a limit to a number of MiB, rounded up from bytes.
    #[must_use]
    pub fn raise_to(limit: Setting, bytes: u64) -> Self {
        let raise = Self::raise(limit.clone()).and(", to at least ");
        raise.mib(limit, bytes)
    }

    /// Returns the advice to retry.
    #[must_use]
    pub fn again() -> Self {
        "run the same command again".into()
    }

    /// Returns the advice to check a disk image.
    #[must_use]
    pub fn verify() -> Self {
        Self::default()
            .about(Setting::Verify, "{}", "a check")
            .and(" lists all problems")
    }

    /// Returns advice on a failed write to a disk. Returns `None` for errors without advice.
    #[must_use]
    pub fn on_write(kind: io::ErrorKind) -> Option<Self> {
        match kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("free some space, or write to another disk".into())
            }
            io::ErrorKind::FileTooLarge => Some(
                "raise the limit on the size of files (ulimit -f), or write to a file system that takes larger ones"
                    .into(),
            ),
            _ => None,
        }
    }

    /// Returns the advice with a program's names for its settings. Where `name` returns `None`, the
    /// setting is omitted or described.
    pub fn naming(&self, name: impl Fn(&Setting) -> Option<Cow<'static, str>>) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                HintPart::Text(words) => text += words,
                HintPart::Setting {
                    setting,
                    named,
                    unnamed,
                } => match name(setting) {
                    Some(name) => text += &named.replace("{}", &name),
                    None => text += unnamed,
                },
            }
        }
        text
    }
}

impl From<&'static str> for Hint {
    fn from(text: &'static str) -> Self {
        Self(vec![HintPart::Text(text.into())])
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self(vec![HintPart::Text(text.into())])
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.naming(|_| None))
    }
}

impl Failure for TreeError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unsupported
    }

    fn hint(&self) -> Option<Hint> {
        Some("change or omit the entry: an ext4 file system cannot hold it".into())
    }
}

impl Failure for FormatError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Content(source) | Self::Image { source, .. } => source.kind().into(),
            Self::NoSpace { .. } => ErrorKind::ImageTooSmall,
            Self::FileTooLarge { .. }
            | Self::XattrsTooLarge { .. }
            | Self::NoNamespace { .. }
            | Self::SymlinkTooLong { .. }
            | Self::DirectoryTooLarge { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::Permanent,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let size = |bytes: u64| {
            let mib = bytes.div_ceil(MIB);
            Hint::from("ask for ").about(Setting::Size, format!("{{}} {mib}"), format!("a size of {mib} MiB"))
        };
        let larger_blocks = |text: &'static str| Hint::from(text).about(Setting::BlockSize, "{}", "block size");
        Some(match self {
            Self::NoSpace { needed, .. } => size(*needed).and(" or more, or leave it out to make the disk fit"),
            Self::TooLarge { max, .. } | Self::OutputTooSmall { available: max, .. } => {
                size(*max / MIB * MIB).and(" or less")
            }
            Self::IsDevice => "write to the device through ext4::DeviceOutput".into(),
            Self::Image { source, .. } => return Hint::on_write(source.kind()),
            Self::FileTooLarge { .. } => larger_blocks("leave the file out of the image, or ask for a larger "),
            Self::SymlinkTooLong { .. } | Self::DirectoryTooLarge { .. } => larger_blocks("ask for a larger "),
            Self::XattrsTooLarge { .. } => {
                "shorten the attribute or leave it out: ext4 holds values of at most 64 KiB".into()
            }
            Self::NoNamespace { .. } => "leave the attribute out: Linux would not show it".into(),
            Self::InvalidAcl { .. } => "build the image again with the ACL as getxattr(2) shows it, or without".into(),
            _ => return None,
        })
    }
}

impl Failure for LookupError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Read(error) => error.kind(),
            _ => ErrorKind::Permanent,
        }
    }

    fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::IsADirectory { .. } => Hint::from("choose a regular file, or list the directory").with(Setting::List),
            Self::NotFound { .. } | Self::NotADirectory { .. } => {
                Hint::from("list the directory above it").with(Setting::List)
            }
            Self::NotAFile { .. } => {
                Hint::from("choose a regular file").about(Setting::List, "; {} shows its type", "")
            }
            Self::TooManySymlinks { .. } => Hint::from("choose the file that the symlinks lead to").about(
                Setting::List,
                "; {} shows where each leads",
                "",
            ),
            Self::Read(error) => return error.hint(),
            _ => return None,
        })
    }
}

impl Failure for ReadError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Input { source, .. } => source.kind().into(),
            Self::Unsupported { .. } | Self::FastCommits => ErrorKind::Unsupported,
            _ => ErrorKind::Permanent,
        }
    }

    fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::NotExt4 => "pass an ext4 disk image".into(),
            Self::Unsupported { .. } => "mount it, or look into it with debugfs".into(),
            Self::NeedsRecovery | Self::FastCommits => {
                "replay the journal with e2fsck -p, or by mounting it once".into()
            }
            Self::Checksum { .. }
            | Self::Inode { .. }
            | Self::NoSuchInode { .. }
            | Self::Journal { .. }
            | Self::Superblock { .. } => Hint::verify(),
            Self::Input { source, .. } => match source.kind() {
                io::ErrorKind::UnexpectedEof => "copy or build it again: it is shorter than its file system".into(),
                io::ErrorKind::IsADirectory => "pass an ext4 disk image".into(),
                _ => return None,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_names_settings_as_the_program_does() {
        let registry = || "r.example".to_owned();
        let log_in = Hint::from("log in").about(Setting::Login { registry: registry() }, ": {}", "");
        for (hint, named, unnamed) in [
            (
                Hint::again(),
                "run the same command again",
                "run the same command again",
            ),
            (
                Hint::from("choose a file").with(Setting::Output).and(", or remove it"),
                "choose a file with <Output>, or remove it",
                "choose a file, or remove it",
            ),
            (
                Hint::raise_to(Setting::MaxSize, (3 << 20) + 1),
                "if you trust the image, raise the limit with <MaxSize>, to at least 4",
                "if you trust the image, raise the limit, to at least 4 MiB",
            ),
            (
                Hint::verify(),
                "<Verify> lists all problems",
                "a check lists all problems",
            ),
            (log_in, "log in: <Login { registry: \"r.example\" }>", "log in"),
        ] {
            assert_eq!(hint.naming(|setting| Some(format!("<{setting:?}>").into())), named);
            assert_eq!(hint.to_string(), unnamed);
        }
    }
}
