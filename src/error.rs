//! Errors of a build.

// To add an error:
//
// 1. Add a variant to `BuildError`, or to `LayerFailure` for one layer, with the facts in its
//    fields, the cause in `source`, and a message that names no flag.
// 2. Give it a kind and a hint in the `impl` of `Failure` here. A hint refers to options by
//    `Setting`; `layer::failure` defines settings, and `src/cli/hints.rs` their flags.
// 3. The kind becomes `error.kind` of the command's JSON in `layer::failure::ErrorKind::as_str`.
//    The exit code of every failed build is 1, or that of the signal that ended it
//    (`src/cli/failure.rs`).
// 4. Test kind and hint at the end of this file, and the command's messages in `tests/cli`.

use std::error::Error;
use std::fmt;
use std::io;
use std::iter;
use std::path::PathBuf;

use ext4::FormatError;

use crate::guest::GuestError;
use crate::mke2fs::Mke2fsError;
use crate::stage::StageError;
use layer::cancel::Cancelled;
use layer::failure::{ErrorKind, Failure, Hint, Setting};
use layer::{DecodeError, LayerError, LayerErrorKind};
use oci::host::{Untrusted, io_error_kind, mkdir_hint};
use oci::{Digest, DigestError, ImageError, Reference, StoreError};

pub use oci::host::EntryKind;

/// A build that failed. It left no output, and an existing output is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The reference is not pinned by digest, so it may refer to another image later.
    #[error("{reference} is not pinned by digest")]
    Mutable {
        /// The reference as given.
        reference: Box<Reference>,
        /// The reference pinned to its current digest, if known. Registries are not asked for it.
        pinned: Option<String>,
    },
    /// The output's path is not that of a regular file.
    #[error("{} is a {found}, not a regular file", .path.display())]
    OutputNotAFile {
        /// The output's path.
        path: PathBuf,
        /// Type of the file at the path.
        found: EntryKind,
    },
    /// The output's directory does not exist.
    #[error("could not create {}", .path.display())]
    NoDirectory {
        /// The output's path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The output could not be created, synced, read or renamed.
    #[error("could not {action} {}", .path.display())]
    Output {
        /// The action that failed.
        action: OutputAction,
        /// The output's path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The image was not found, could not be read, or is not supported.
    #[error("could not get the image {reference}")]
    Image {
        /// The reference as given.
        reference: Box<Reference>,
        /// The error of the image's source.
        #[source]
        source: ImageError,
    },
    /// A layer failed verification, or could not be applied.
    #[error("could not apply layer {number} of {count}, {digest}")]
    Layer {
        /// Position of the layer, from 1 for the lowest.
        number: usize,
        /// Number of layers of the image.
        count: usize,
        /// Digest of its blob.
        digest: Digest,
        /// The error of the layer.
        #[source]
        source: Box<LayerFailure>,
    },
    /// The init could not be installed for the image.
    #[error("could not install the init")]
    Guest(#[from] GuestError),
    /// The file system could not be started or completed.
    #[error("could not write the file system")]
    Format(#[from] FormatError),
    /// E2fsprogs, which the options ask for, did not make the image.
    #[error("could not build the image with mke2fs")]
    Mke2fs(#[from] Mke2fsError),
    /// The tree could not be exported to a stage directory.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A disk image that fits its content would exceed the limit on its size.
    #[error("the disk image needs {needed} bytes: at most {max} are allowed")]
    DiskTooLarge {
        /// Smallest sufficient size in bytes, a multiple of 1 MiB.
        needed: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// The build was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
}

/// An error of one layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerFailure {
    /// The source could not provide the blob.
    #[error(transparent)]
    Source(#[from] ImageError),
    /// The blob at the source does not match its descriptor in the manifest.
    #[error("the blob is damaged at its source")]
    Blob(#[source] DigestError),
    /// The blob in the state directory did not match its digest, and was removed.
    #[error("the cached blob in the state directory was damaged, and has been removed")]
    DamagedCopy(#[source] DigestError),
    /// The blob in the state directory could not be read, and was removed.
    #[error("the cached blob in the state directory could not be read, and has been removed")]
    UnreadableCopy(#[source] io::Error),
    /// The layer's tar does not match its diff ID in the image's config.
    #[error("the layer's tar does not match its diff_id in the image's config")]
    DiffId(#[source] DigestError),
    /// The blob could not be read to its end.
    #[error("could not read the layer to its end")]
    Read(#[source] io::Error),
    /// The compression of the blob is unknown or unreadable.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The tar could not be read, or its entries could not be applied.
    #[error(transparent)]
    Apply(#[from] LayerError),
}

impl LayerFailure {
    /// Returns whether the cause cannot be a damaged blob: the source has no blob, or the output
    /// failed. Other errors are replaced by that of the blob, if the blob is damaged.
    pub(crate) fn is_unrelated_to_blob(&self) -> bool {
        matches!(
            self,
            Self::Source(_)
                | Self::Apply(LayerError {
                    kind: LayerErrorKind::Image(_),
                    ..
                })
        )
    }
}

/// Action on the output file that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputAction {
    /// Create a temporary file in its directory.
    Create,
    /// Wait until its content is on the disk (fsync).
    Sync,
    /// Read it, to compute its digest.
    Read,
    /// Rename the finished image to its path.
    Rename,
}

impl fmt::Display for OutputAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Sync => "sync",
            Self::Read => "read the finished image for",
            Self::Rename => "rename the finished image to",
        })
    }
}

impl BuildError {
    /// Returns the time to wait before the next attempt, in milliseconds, if a registry gave one
    /// (`Retry-After`).
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        let wait = self.image_error()?.retry_after()?;
        Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
    }

    /// Returns the size in bytes that the content needs, and the size of the image, if that is too
    /// small.
    #[must_use]
    pub fn image_too_small(&self) -> Option<(u64, u64)> {
        let mut causes = iter::successors(self.source(), |&cause| cause.source());
        causes.find_map(|cause| match cause.downcast_ref() {
            Some(&FormatError::NoSpace { needed, available }) => Some((needed, available)),
            _ => None,
        })
    }

    /// Returns whether a damaged file in the state directory caused the error. That file has been
    /// removed, so another build can succeed.
    pub(crate) fn removed_damaged_copy(&self) -> bool {
        let is_copy = matches!(self, Self::Layer { source, .. }
            if matches!(**source, LayerFailure::DamagedCopy(_) | LayerFailure::UnreadableCopy(_)));
        is_copy || matches!(self.image_error(), Some(ImageError::Store(StoreError::Damaged { .. })))
    }

    /// Returns the error of the image's source, if that is the cause.
    fn image_error(&self) -> Option<&ImageError> {
        match self {
            Self::Image { source, .. } => Some(source),
            Self::Layer { source, .. } => match &**source {
                LayerFailure::Source(source) => Some(source),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Failure for BuildError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Mutable { .. } => ErrorKind::PolicyDenied,
            Self::DiskTooLarge { .. } => ErrorKind::LimitExceeded,
            Self::OutputNotAFile { .. } => ErrorKind::Conflict,
            Self::NoDirectory { .. } => ErrorKind::NotFound,
            Self::Output { source, .. } => io_error_kind(source),
            Self::Image { source, .. } => source.kind(),
            Self::Layer { source, .. } => source.kind(),
            Self::Guest(error) => error.kind(),
            Self::Format(error) => error.kind(),
            Self::Mke2fs(error) => error.kind(),
            Self::Stage(error) => error.kind(),
            Self::Cancelled(_) => ErrorKind::Transient,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let accept = |pin: Hint| {
            pin.and(", or accept")
                .with(Setting::AllowMutable)
                .and(" that it may change")
        };
        let choose = |text: &'static str| Hint::from(text).with(Setting::Output);
        Some(match self {
            Self::Mutable {
                pinned: Some(pinned), ..
            } => accept(
                Hint::from("pin the image")
                    .with(Setting::Image)
                    .and(format!(" {pinned}")),
            ),
            Self::Mutable { pinned: None, .. } => accept("pin the image with @sha256:<digest>".into()).about(
                Setting::AllowMutable,
                "; a build with {} reports the pinned reference as resolved_ref",
                "",
            ),
            Self::OutputNotAFile { found, .. } => match found {
                EntryKind::Directory => choose("choose a file in it"),
                EntryKind::Symlink => choose("choose the file that it points to").and(", or remove it"),
                EntryKind::BlockDevice | EntryKind::CharDevice => {
                    "build a file, and copy it to the device afterwards, for example with dd".into()
                }
                _ => choose("choose another file").and(", or remove it"),
            },
            Self::NoDirectory { path, .. } => mkdir_hint(path),
            Self::Output {
                action: OutputAction::Rename,
                path,
                source,
            } if is_locked(source.kind()) => Hint::from(format!(
                "close the program that has {} open, such as a virtual machine, and make sure that the file is not \
                 read-only",
                path.display()
            ))
            .and(choose("; or choose another file")),
            Self::Output { path, source, .. } => match (Untrusted::from_error(source), source.kind()) {
                (Some(refusal), _) => return refusal.output_hint(),
                (None, io::ErrorKind::NotFound) => mkdir_hint(path),
                (None, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                    choose("choose a file").and(" in a directory that you can write to")
                }
                (None, kind) => return Hint::on_write(kind),
            },
            Self::DiskTooLarge { needed, .. } => Hint::raise_to(Setting::MaxSize, *needed),
            Self::Image { source, .. } => return source.hint(),
            Self::Layer { source, .. } => return source.hint(),
            Self::Guest(error) => return error.hint(),
            Self::Format(error) => return error.hint(),
            Self::Mke2fs(error) => return error.hint(),
            Self::Stage(error) => return error.hint(),
            Self::Cancelled(_) => Hint::again(),
        })
    }
}

/// Returns whether the file itself cannot be replaced, and not its directory written to: on
/// Windows, a program has the file open, or the file is read-only.
fn is_locked(kind: io::ErrorKind) -> bool {
    kind == io::ErrorKind::ResourceBusy || (cfg!(windows) && kind == io::ErrorKind::PermissionDenied)
}

impl Failure for LayerFailure {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Source(error) => error.kind(),
            Self::Blob(error) | Self::DiffId(error) => error.kind(),
            Self::DamagedCopy(_) | Self::UnreadableCopy(_) => ErrorKind::Transient,
            Self::Read(source) => source.kind().into(),
            Self::Decode(error) => error.kind(),
            Self::Apply(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Source(error) => error.hint(),
            Self::Blob(error) => error.hint(),
            Self::DamagedCopy(_) | Self::UnreadableCopy(_) => Some(Hint::again()),
            Self::DiffId(_) => {
                Some("rebuild the OCI image: its layer and its config contradict each other, in every copy".into())
            }
            Self::Decode(error) => error.hint(),
            Self::Apply(error) => error.hint(),
            Self::Read(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use ext4::ImageAction;

    use super::*;
    use layer::Position;
    use oci::ManifestError;

    fn digest() -> Digest {
        format!("sha256:{}", "0".repeat(64)).parse().unwrap()
    }

    fn image(source: impl Into<ImageError>) -> BuildError {
        BuildError::Image {
            reference: Box::new(Reference::parse("localhost/image").unwrap()),
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

    #[test]
    fn full_disk_has_the_same_kind_in_every_error() {
        let full = [
            (io::ErrorKind::StorageFull, ErrorKind::StorageFull),
            (io::ErrorKind::QuotaExceeded, ErrorKind::StorageFull),
            (io::ErrorKind::FileTooLarge, ErrorKind::SystemLimit),
        ];
        for (full, kind) in full.map(|(full, kind)| (move || io::Error::from(full), kind)) {
            let path = PathBuf::from("disk");
            let write = || FormatError::Image {
                action: ImageAction::Write,
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
                assert_eq!(error.kind(), kind, "{error:?}");
                assert_eq!(error.kind().as_str(), "resource_exhausted");
                assert!(error.hint().is_some(), "{error:?}");
            }
        }
    }

    #[test]
    fn damaged_layer_is_permanent_in_every_error() {
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

    #[cfg(feature = "registry")]
    #[test]
    fn busy_registry_reports_when_to_retry() {
        use std::time::Duration;

        use oci::RegistryError;

        fn too_many_requests(retry_after: Option<Duration>) -> RegistryError {
            RegistryError::TooManyRequests {
                registry: "localhost".to_owned(),
                retry_after,
                problem: String::new(),
            }
        }

        let error = image(too_many_requests(Some(Duration::from_secs(90))));
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert_eq!(error.retry_after_ms(), Some(90_000));

        let error = layer(ImageError::from(too_many_requests(Some(Duration::MAX))));
        assert_eq!(error.retry_after_ms(), Some(u64::MAX));
        assert_eq!(image(too_many_requests(None)).retry_after_ms(), None);
        assert_eq!(BuildError::from(Cancelled).retry_after_ms(), None);
    }

    #[test]
    fn timeout_while_reading_a_layer_is_transient() {
        let error = applying(LayerErrorKind::Read(io::ErrorKind::TimedOut.into()));
        assert_eq!(error.kind(), ErrorKind::Transient);
    }

    #[test]
    fn unsupported_layers_and_manifests() {
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
    #[test]
    fn image_that_is_too_small_reports_the_size_needed() {
        let too_small = || FormatError::NoSpace {
            needed: 5 << 20,
            available: 1 << 20,
        };
        for error in [
            BuildError::Format(too_small()),
            BuildError::Guest(too_small().into()),
            applying(LayerErrorKind::Image(too_small())),
        ] {
            assert_eq!(error.kind(), ErrorKind::ImageTooSmall, "{error:?}");
            assert_eq!(error.kind().as_str(), "resource_exhausted");
            assert_eq!(error.image_too_small(), Some((5 << 20, 1 << 20)), "{error:?}");
            let hint = error.hint().unwrap().to_string();
            assert_eq!(
                hint,
                "ask for a size of 5 MiB or more, or leave it out to make the disk fit"
            );
        }
        assert_eq!(BuildError::from(Cancelled).image_too_small(), None);
    }
}
