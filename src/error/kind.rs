//! What kind of failure each is, for programs that must decide what to do next.

use std::io;

use ext4::FormatError;
use serde::Serialize;

use super::{BuildError, LayerFailure};
use crate::image::{AuthError, ImageError, LayoutError, ManifestError, RegistryError, StoreError};
use crate::layer::{DecodeError, LayerError, LayerErrorKind};

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

impl BuildError {
    /// What kind of failure it is, by its type alone.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Mutable { .. } => ErrorKind::PolicyDenied,
            Self::OutputNotAFile { .. } => ErrorKind::Conflict,
            Self::Output { source, .. } => source.kind().into(),
            Self::Image { source, .. } => source.into(),
            Self::Layer { source, .. } => source.as_ref().into(),
            Self::Format(error) => error.into(),
            Self::Interrupted => ErrorKind::Transient,
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
            ImageError::Layout(error) => error.into(),
            ImageError::Registry(error) => error.into(),
            ImageError::Auth(AuthError::Read { source, .. })
            | ImageError::Store(StoreError::Read { source, .. } | StoreError::Write { source, .. }) => {
                source.kind().into()
            }
            ImageError::Auth(AuthError::Json { .. } | AuthError::Entry { .. })
            | ImageError::Content { .. }
            | ImageError::WrongPlatform { .. } => Self::Permanent,
            ImageError::Document { source, .. } => source.into(),
            ImageError::NoPlatform { .. } => Self::NotFound,
            ImageError::Interrupted => Self::Transient,
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
            LayoutError::Read { source, .. } => source.kind().into(),
            LayoutError::Version { .. } => Self::Unsupported,
            LayoutError::NotAFile { .. } | LayoutError::Ambiguous { .. } => Self::Permanent,
        }
    }
}

impl From<&RegistryError> for ErrorKind {
    fn from(error: &RegistryError) -> Self {
        match error {
            RegistryError::Runtime(source) => source.kind().into(),
            RegistryError::NotFound { .. } => Self::NotFound,
            RegistryError::Unauthorized { .. } | RegistryError::InsecureRealm { .. } => Self::PolicyDenied,
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
            | ManifestError::UnknownLayer { .. }
            | ManifestError::RootfsType { .. } => Self::Unsupported,
            ManifestError::Json(_)
            | ManifestError::TooLarge { .. }
            | ManifestError::Ambiguous
            | ManifestError::Platform(_)
            | ManifestError::LayerCount { .. }
            | ManifestError::TooDeep { .. }
            | ManifestError::TooManyDocuments { .. } => Self::Permanent,
        }
    }
}

impl From<&LayerFailure> for ErrorKind {
    fn from(failure: &LayerFailure) -> Self {
        match failure {
            LayerFailure::Source(error) => error.into(),
            LayerFailure::Blob(_) | LayerFailure::Content(_) => Self::Permanent,
            LayerFailure::Copy(_) => Self::Transient,
            LayerFailure::Read(source) | LayerFailure::Decode(DecodeError::Read(source)) => source.kind().into(),
            LayerFailure::Decode(_) => Self::Unsupported,
            LayerFailure::Apply(LayerError { kind, .. }) => kind.into(),
        }
    }
}

impl From<&LayerErrorKind> for ErrorKind {
    fn from(kind: &LayerErrorKind) -> Self {
        match kind {
            LayerErrorKind::Read(source) => source.kind().into(),
            LayerErrorKind::Image(error) => error.into(),
            LayerErrorKind::UnsupportedType { .. } | LayerErrorKind::Tree(_) => Self::Unsupported,
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
            | FormatError::SymlinkTooLong { .. } => Self::Unsupported,
            _ => Self::Permanent,
        }
    }
}
