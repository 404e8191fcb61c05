//! Kinds of errors for programs, and hints for users.
//!
//! Each error implements [`Failure`] in the file that defines it. Those of `ext4` are here.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;

use ext4::read::LookupError;
use ext4::{FormatError, ReadError, TreeError};

/// An error that knows what can be done about it.
pub trait Failure: Error {
    /// Returns the kind of failure, by its type alone.
    fn kind(&self) -> ErrorKind;

    /// Returns advice for the user; `None` where there is nothing to say but the error itself.
    fn hint(&self) -> Option<Hint> {
        None
    }
}

/// Kind of a failure, by what can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The same again may succeed.
    Transient,
    /// The same again fails again.
    Permanent,
    /// Something else is where the output belongs.
    Conflict,
    /// The thing that was asked for is missing.
    NotFound,
    /// The disk, or the user's part of it, is full.
    StorageFull,
    /// The content does not fit the size of the image that was asked for.
    ImageTooSmall,
    /// The system has no memory left.
    OutOfMemory,
    /// A limit of the system is reached: on threads, or on the size of a file.
    SystemLimit,
    /// The image is of a kind that this program cannot make a file system of.
    Unsupported,
    /// The image exceeds a limit that the caller set.
    LimitExceeded,
    /// It is possible, but not allowed.
    PolicyDenied,
}

impl ErrorKind {
    /// Returns the word for it in the JSON of the command. Kinds that differ only in what is used
    /// up, or in what forbids it, have one word.
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

/// Advice on a failure, in words for the user.
///
/// It may speak of settings, which each program gives its users under names of its own, such as
/// flags. [`Hint::naming`] puts these names in. [`Display`](fmt::Display) does without.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hint(Vec<HintPart>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum HintPart {
    Text(Cow<'static, str>),
    Setting {
        setting: Setting,
        /// Words with `{}` in place of the setting's name.
        named: Cow<'static, str>,
        /// Words for programs that have no name for it.
        unnamed: Cow<'static, str>,
    },
}

/// A setting or command of a program, of which a [`Hint`] speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setting {
    /// The image to build.
    Image,
    /// The consent to an image that is not pinned by digest.
    AllowMutable,
    /// The platform of the image.
    Platform,
    /// The path of the disk image.
    Output,
    /// The size of the disk image.
    Size,
    /// The size of the blocks of the file system.
    BlockSize,
    /// The limit on the size of the content.
    MaxSize,
    /// The limit on the number of entries of the layers.
    MaxEntries,
    /// The limit on the metadata of the layers.
    MaxMetadata,
    /// The directory where downloads are kept.
    StateDirectory,
    /// The file with credentials for registries.
    CredentialsFile,
    /// The command that keeps credentials for a registry.
    Login {
        /// Host and port of the registry.
        registry: String,
    },
    /// The consent to plain HTTP.
    PlainHttp,
    /// The file with certificates of further authorities.
    Authority,
    /// The path of the init in the image.
    Init,
    /// An image without an init.
    NoInit,
    /// The command that the init runs.
    Command,
    /// The program that makes the disk image in place of this library.
    Mke2fs,
    /// The directory for a copy of the tree.
    Stage,
    /// The command that looks into a disk image.
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
    /// Appends more words.
    #[must_use]
    pub fn and(mut self, more: impl Into<Self>) -> Self {
        self.0.extend(more.into().0);
        self
    }

    /// Appends words about a setting: `named`, with the setting's name in place of `{}`, or
    /// `unnamed` for programs that have no name for it.
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

    /// Appends the setting by which to follow the advice.
    #[must_use]
    pub fn with(self, setting: Setting) -> Self {
        self.about(setting, " with {}", "")
    }

    /// Appends a setting that is a number of MiB, rounded up from bytes.
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
        let raise = Self::raise(limit.clone()).and(", to ");
        raise.mib(limit, bytes).and(" at the least")
    }

    /// Returns the advice to do the same again.
    #[must_use]
    pub fn again() -> Self {
        "run the same command again".into()
    }

    /// Returns the advice to check a disk image.
    #[must_use]
    pub fn verify() -> Self {
        Self::default()
            .about(Setting::Verify, "{}", "a check")
            .and(" lists all that is wrong with it")
    }

    /// Returns advice on a disk that does not take what is written.
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

    /// Returns the advice with the names of a program for its settings. A setting for which
    /// `name` returns `None` is left out, or described.
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
        Some("change or leave out the entry: no ext4 file system can hold it".into())
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
            Self::IsADirectory { .. } => Hint::from("name a regular file, or list the directory").with(Setting::List),
            Self::NotFound { .. } | Self::NotADirectory { .. } => {
                Hint::from("list the directory above it").with(Setting::List)
            }
            Self::NotAFile { .. } => {
                Hint::from("name a regular file").about(Setting::List, "; {} says what this is", "")
            }
            Self::TooManySymlinks { .. } => {
                Hint::from("name the file that they lead to").about(Setting::List, "; {} shows where each leads", "")
            }
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
            Self::NotExt4 => "name a disk image".into(),
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
                io::ErrorKind::UnexpectedEof => "copy or build it again: it ends before the file system does".into(),
                io::ErrorKind::IsADirectory => "name a disk image".into(),
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
                Hint::from("name a file").with(Setting::Output).and(", or remove it"),
                "name a file with <Output>, or remove it",
                "name a file, or remove it",
            ),
            (
                Hint::raise_to(Setting::MaxSize, (3 << 20) + 1),
                "if you trust the image, raise the limit with <MaxSize>, to 4 at the least",
                "if you trust the image, raise the limit, to 4 MiB at the least",
            ),
            (
                Hint::verify(),
                "<Verify> lists all that is wrong with it",
                "a check lists all that is wrong with it",
            ),
            (log_in, "log in: <Login { registry: \"r.example\" }>", "log in"),
        ] {
            assert_eq!(hint.naming(|setting| Some(format!("<{setting:?}>").into())), named);
            assert_eq!(hint.to_string(), unnamed);
        }
    }
}
