//! What kind of failure each is, for programs that must decide what to do next.

use std::io;

use ext4::FormatError;
use serde::Serialize;

use super::{BuildError, LayerFailure};
use crate::guest::GuestError;
use layer::{DecodeError, LayerError, LayerErrorKind};
use oci::host::Untrusted;
use oci::{
    ArchiveError, AuthError, DockerArchiveError, FileError, ImageError, LayoutError, ManifestError, RegistryError,
    StoreError,
};

/// What can be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The same again may succeed.
    Transient,
    /// The same again fails again.
    Permanent,
    /// Something else is where the output belongs.
    Conflict,
    /// What was asked for is not there.
    NotFound,
    /// Space, memory or a limit of the system is used up.
    ResourceExhausted,
    /// The image is of a kind that this program cannot make a file system of.
    Unsupported,
    /// It is possible, but not allowed.
    PolicyDenied,
}

/// An error that says its kind.
pub trait Kind {
    /// Returns what kind of failure it is.
    fn kind(&self) -> ErrorKind;
}

impl BuildError {
    /// What kind of failure it is, by its type alone.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Mutable { .. } | Self::DiskTooLarge { .. } => ErrorKind::PolicyDenied,
            Self::OutputNotAFile { .. } => ErrorKind::Conflict,
            Self::Output { source, .. } => source.into(),
            Self::Image { source, .. } => source.into(),
            Self::Layer { source, .. } => source.as_ref().into(),
            Self::Guest(error) => error.into(),
            Self::Format(error) => error.into(),
            Self::Mke2fs(error) => error.kind(),
            Self::Stage(error) => error.kind(),
            Self::Cancelled(_) => ErrorKind::Transient,
        }
    }
}

impl From<&io::Error> for ErrorKind {
    /// Returns the kind of a failure of the system, or of what it allows and this program refuses.
    fn from(error: &io::Error) -> Self {
        match Untrusted::of(error) {
            Some(
                Untrusted::Owner { .. } | Untrusted::Writable { .. } | Untrusted::Link { .. } | Untrusted::Symlink,
            ) => Self::PolicyDenied,
            Some(Untrusted::Replaced) => Self::Conflict,
            Some(Untrusted::NotAFile(_)) | None => error.kind().into(),
        }
    }
}

impl From<io::ErrorKind> for ErrorKind {
    fn from(kind: io::ErrorKind) -> Self {
        match kind {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::OutOfMemory => Self::ResourceExhausted,
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

impl From<&ImageError> for ErrorKind {
    fn from(error: &ImageError) -> Self {
        match error {
            ImageError::File(FileError::Read { source, .. } | FileError::Scratch { source, .. }) => source.into(),
            ImageError::File(FileError::TooLarge { .. }) | ImageError::DownloadTooLarge { .. } => Self::PolicyDenied,
            ImageError::Layout(error) => error.into(),
            ImageError::Archive(error) => error.into(),
            ImageError::Registry(error) => error.into(),
            ImageError::Store(error) => error.kind(),
            ImageError::Auth(error) => error.kind(),
            ImageError::NoPlatform { .. } | ImageError::DockerArchive(DockerArchiveError::NoSuchImage { .. }) => {
                Self::NotFound
            }
            ImageError::File(_) | ImageError::DockerArchive(_) | ImageError::Content { .. } => Self::Permanent,
            ImageError::Document { source, .. } => source.into(),
            _ => Self::Transient,
        }
    }
}

impl Kind for AuthError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } | Self::Refused { source, .. } => source.into(),
            Self::Json { .. } | Self::Entry { .. } | Self::TooLarge { .. } => ErrorKind::Permanent,
            _ => ErrorKind::Transient,
        }
    }
}

impl Kind for StoreError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::Lock { source, .. }
            | Self::Refused { source, .. } => source.into(),
            _ => ErrorKind::Transient,
        }
    }
}

impl From<&LayoutError> for ErrorKind {
    fn from(error: &LayoutError) -> Self {
        match error {
            LayoutError::NoLayout { .. }
            | LayoutError::MissingBlob { .. }
            | LayoutError::Empty
            | LayoutError::NoSuchTag { .. } => Self::NotFound,
            LayoutError::Version { .. } => Self::Unsupported,
            _ => Self::Permanent,
        }
    }
}

impl From<&ArchiveError> for ErrorKind {
    fn from(error: &ArchiveError) -> Self {
        match error {
            ArchiveError::Decode { source, .. } | ArchiveError::Layer { source, .. } => source.into(),
            ArchiveError::Missing { .. } => Self::NotFound,
            _ => Self::Permanent,
        }
    }
}

impl From<&RegistryError> for ErrorKind {
    fn from(error: &RegistryError) -> Self {
        match error {
            // Threads or descriptors are used up.
            RegistryError::Runtime(_) => Self::ResourceExhausted,
            RegistryError::CaFile { source, .. } => source.kind().into(),
            RegistryError::NotFound { .. } => Self::NotFound,
            RegistryError::Unauthorized { .. }
            | RegistryError::LoginRefused { .. }
            | RegistryError::InsecureRealm { .. } => Self::PolicyDenied,
            RegistryError::ProxyRefused { reason, .. } if !reason.is_transient() => Self::PolicyDenied,
            RegistryError::Elsewhere { source, .. } => source.as_ref().into(),
            error if error.is_transient() => Self::Transient,
            _ => Self::Permanent,
        }
    }
}

impl From<&ManifestError> for ErrorKind {
    fn from(error: &ManifestError) -> Self {
        match error {
            ManifestError::Schema1
            | ManifestError::SchemaVersion { .. }
            | ManifestError::Unrecognised { .. }
            | ManifestError::NotAnImage { .. }
            | ManifestError::EncryptedLayer { .. }
            | ManifestError::UnknownLayer { .. }
            | ManifestError::RootfsType { .. } => Self::Unsupported,
            _ => Self::Permanent,
        }
    }
}

impl From<&LayerFailure> for ErrorKind {
    fn from(failure: &LayerFailure) -> Self {
        match failure {
            LayerFailure::Source(error) => error.into(),
            LayerFailure::Blob(_) | LayerFailure::Content(_) => Self::Permanent,
            LayerFailure::Copy(_) | LayerFailure::UnreadableCopy(_) => Self::Transient,
            LayerFailure::Read(source) => source.kind().into(),
            LayerFailure::Decode(error) => error.into(),
            LayerFailure::Apply(LayerError { kind, .. }) => kind.into(),
        }
    }
}

impl From<&DecodeError> for ErrorKind {
    fn from(error: &DecodeError) -> Self {
        error.io_kind().into()
    }
}

impl From<&LayerErrorKind> for ErrorKind {
    fn from(kind: &LayerErrorKind) -> Self {
        match kind {
            LayerErrorKind::Read(source) => source.kind().into(),
            LayerErrorKind::Cancelled(_) => Self::Transient,
            LayerErrorKind::Image(error) | LayerErrorKind::Unfit(error) => error.into(),
            LayerErrorKind::OutOfMemory { .. } => Self::ResourceExhausted,
            LayerErrorKind::TooLarge { .. }
            | LayerErrorKind::TooManyEntries { .. }
            | LayerErrorKind::TooMuchMetadata { .. } => Self::PolicyDenied,
            LayerErrorKind::UnsupportedType { .. } | LayerErrorKind::OtherVolume { .. } | LayerErrorKind::Tree(_) => {
                Self::Unsupported
            }
            _ => Self::Permanent,
        }
    }
}

impl From<&GuestError> for ErrorKind {
    fn from(error: &GuestError) -> Self {
        match error {
            GuestError::Platform { .. } | GuestError::TooLarge { .. } => Self::Unsupported,
            GuestError::NoShell | GuestError::UnknownUser { .. } | GuestError::UnknownGroup { .. } => Self::NotFound,
            GuestError::Taken { .. } | GuestError::RunsItself { .. } => Self::Conflict,
            GuestError::Read { source, .. } => source.kind().into(),
            GuestError::Image(error) => error.into(),
            _ => Self::Permanent,
        }
    }
}

impl From<&FormatError> for ErrorKind {
    fn from(error: &FormatError) -> Self {
        match error {
            FormatError::Content(source) | FormatError::Image { source, .. } => source.kind().into(),
            FormatError::NoSpace { .. } => Self::ResourceExhausted,
            FormatError::FileTooLarge { .. }
            | FormatError::XattrsTooLarge { .. }
            | FormatError::NoNamespace { .. }
            | FormatError::SymlinkTooLong { .. }
            | FormatError::DirectoryTooLarge { .. } => Self::Unsupported,
            _ => Self::Permanent,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::error::OutputAction;
    use layer::Position;
    use layer::cancel::Cancelled;
    use oci::Digest;

    fn digest() -> Digest {
        format!("sha256:{}", "0".repeat(64)).parse().unwrap()
    }

    fn image(source: impl Into<ImageError>) -> BuildError {
        BuildError::Image {
            reference: Box::new(oci::Reference::parse("localhost/image").unwrap()),
            source: source.into(),
        }
    }

    fn layer(source: impl Into<LayerFailure>) -> BuildError {
        BuildError::Layer {
            number: 1,
            count: 1,
            digest: digest(),
            source: Box::new(source.into()),
        }
    }

    fn applying(kind: LayerErrorKind) -> BuildError {
        let position = Position::default();
        layer(LayerError { position, kind })
    }

    fn too_many_requests(retry_after: Option<Duration>) -> RegistryError {
        RegistryError::TooManyRequests {
            registry: "localhost".to_owned(),
            retry_after,
            problem: String::new(),
        }
    }

    #[test]
    fn a_disk_is_full_wherever_it_is_noticed() {
        let full = [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
        ];
        for full in full.map(|kind| move || io::Error::from(kind)) {
            let path = PathBuf::from("disk");
            let write = || FormatError::Image {
                action: "write",
                offset: 0,
                source: full(),
            };
            for error in [
                BuildError::Output {
                    action: OutputAction::Sync,
                    path: path.clone(),
                    source: full(),
                },
                BuildError::Format(write()),
                applying(LayerErrorKind::Image(write())),
                image(StoreError::Write { path, source: full() }),
            ] {
                assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error:?}");
                assert!(error.remediation().is_some(), "{error:?}");
            }
        }
    }

    #[test]
    fn damage_is_permanent_however_it_shows() {
        let unreadable = || io::Error::from(io::ErrorKind::InvalidData);
        for error in [
            applying(LayerErrorKind::Read(unreadable())),
            applying(LayerErrorKind::Checksum),
            layer(LayerFailure::Read(unreadable())),
            layer(DecodeError::Read(io::ErrorKind::UnexpectedEof.into())),
        ] {
            assert_eq!(error.kind(), ErrorKind::Permanent, "{error:?}");
        }
    }

    #[test]
    fn a_registry_that_is_busy_says_when_to_come_back() {
        let error = image(too_many_requests(Some(Duration::from_secs(90))));
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert_eq!(error.retry_after_ms(), Some(90_000));

        let error = layer(ImageError::from(too_many_requests(Some(Duration::MAX))));
        assert_eq!(error.retry_after_ms(), Some(u64::MAX));
        assert_eq!(image(too_many_requests(None)).retry_after_ms(), None);
        assert_eq!(BuildError::from(Cancelled).retry_after_ms(), None);
    }

    #[test]
    fn a_layer_on_a_network_disk_may_come_back() {
        let error = applying(LayerErrorKind::Read(io::ErrorKind::TimedOut.into()));
        assert_eq!(error.kind(), ErrorKind::Transient);
    }

    #[test]
    fn what_this_program_cannot_do_is_unsupported() {
        for error in [
            layer(DecodeError::Unsupported { name: "xz" }),
            applying(LayerErrorKind::UnsupportedType {
                flag: b'V',
                name: "volume label",
            }),
            image(ImageError::Document {
                document: "manifest".to_owned(),
                source: ManifestError::Schema1,
            }),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
        }
    }
}
