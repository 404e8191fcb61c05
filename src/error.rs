//! Why a build fails: what each stage says, joined.

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

/// A disk image that could not be built. Nothing of it is left, and an existing file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The reference names no digest, so that it may mean another image tomorrow.
    #[error("{reference} is not pinned by digest")]
    Mutable {
        /// The reference as given.
        reference: Box<Reference>,
        /// What it means today, pinned; known of images on this machine only.
        pinned: Option<String>,
    },
    /// Something is at the output's path that a file cannot replace.
    #[error("{} is a {found}, not a regular file", .path.display())]
    OutputNotAFile {
        /// The output's path.
        path: PathBuf,
        /// The kind of what is there.
        found: EntryKind,
    },
    /// The output's directory is not there.
    #[error("could not create {}", .path.display())]
    NoDirectory {
        /// The output's path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The output could not be made, synced, read or named.
    #[error("could not {action} {}", .path.display())]
    Output {
        /// What was tried.
        action: OutputAction,
        /// The output's path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The image was not found, not readable, or cannot be used.
    #[error("could not get {reference}")]
    Image {
        /// The reference as given.
        reference: Box<Reference>,
        /// Why not.
        #[source]
        source: ImageError,
    },
    /// A layer cannot be trusted or applied.
    #[error("could not apply layer {number} of {count}, {digest}")]
    Layer {
        /// Position from the bottom, from 1.
        number: usize,
        /// How many layers there are.
        count: usize,
        /// Digest of its blob.
        digest: Digest,
        /// Why not.
        #[source]
        source: Box<LayerFailure>,
    },
    /// The image cannot run as a machine.
    #[error("could not prepare the image to run as a machine")]
    Guest(#[from] GuestError),
    /// The file system could not be begun or completed.
    #[error("could not write the file system")]
    Format(#[from] FormatError),
    /// E2fsprogs, which was asked for, does not make the image.
    #[error("could not build the image with mke2fs")]
    Mke2fs(#[from] Mke2fsError),
    /// The tree could not be exported.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The content needs a larger disk than one that is made to fit may be.
    #[error("the disk would have {needed} bytes: at most {max} are allowed")]
    DiskTooLarge {
        /// Smallest size in bytes, in whole MiB, that would do.
        needed: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// It was cancelled.
    #[error("interrupted")]
    Cancelled(#[from] Cancelled),
}

/// What is wrong with a layer, or what went wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerFailure {
    /// The source does not give the blob.
    #[error(transparent)]
    Source(#[from] ImageError),
    /// The blob is not the one that the manifest names.
    #[error("the blob is damaged where it comes from")]
    Blob(#[source] DigestError),
    /// The copy of the blob in the state directory was not the one that was downloaded, and is removed now.
    #[error("the copy of the blob in the state directory was damaged, and is removed")]
    Copy(#[source] DigestError),
    /// The copy of the blob in the state directory could not be read, and is removed now.
    #[error("the copy of the blob in the state directory could not be read, and is removed")]
    UnreadableCopy(#[source] io::Error),
    /// The tar in the blob is not the one that the config names.
    #[error("the content is not what the image's config promises (diff_id)")]
    Content(#[source] DigestError),
    /// The blob could not be read to its end.
    #[error("could not read the layer to its end")]
    Read(#[source] io::Error),
    /// The compression of the blob is unknown or unreadable.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The tar could not be read, or its entries not be put into the file system.
    #[error(transparent)]
    Apply(#[from] LayerError),
}

impl LayerFailure {
    /// Whether nothing that the blob turns out to be would change it: there is none, or what it was written to is to blame.
    pub(crate) fn is_final(&self) -> bool {
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

/// What was tried with the output file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputAction {
    /// Make a file in its directory.
    Create,
    /// Wait until its content is on the disk.
    Sync,
    /// Read it again, for its digest.
    Read,
    /// Give it its name.
    Rename,
}

impl fmt::Display for OutputAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Sync => "sync",
            Self::Read => "read the finished image for",
            Self::Rename => "put the finished image in the place of",
        })
    }
}

impl BuildError {
    /// How long to wait before the next attempt, in milliseconds, where the source says so.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        let wait = self.image_error()?.retry_after()?;
        Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
    }

    /// Returns the bytes that an image would need to hold the content, and those that it has, if
    /// the size that was asked for is too small.
    #[must_use]
    pub fn image_too_small(&self) -> Option<(u64, u64)> {
        let mut causes = iter::successors(self.source(), |&cause| cause.source());
        causes.find_map(|cause| match cause.downcast_ref() {
            Some(&FormatError::NoSpace { needed, available }) => Some((needed, available)),
            _ => None,
        })
    }

    /// Whether something was damaged in the state directory that is removed now, so that the same again succeeds.
    pub(crate) fn is_repaired(&self) -> bool {
        let is_copy = matches!(self, Self::Layer { source, .. }
            if matches!(**source, LayerFailure::Copy(_) | LayerFailure::UnreadableCopy(_)));
        is_copy || matches!(self.image_error(), Some(ImageError::Store(StoreError::Damaged { .. })))
    }

    /// What the source says, if it is to blame.
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
        let name = |text: &'static str| Hint::from(text).with(Setting::Output);
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
                "; the resolved_ref of a build with {} is pinned",
                "",
            ),
            Self::OutputNotAFile { found, .. } => match found {
                EntryKind::Directory => name("name a file in it"),
                EntryKind::Symlink => name("name the file that it leads to").and(", or remove it"),
                EntryKind::BlockDevice | EntryKind::CharDevice => {
                    "build a file, and copy it to the device afterwards, for example with dd".into()
                }
                _ => name("name another file").and(", or remove it"),
            },
            Self::NoDirectory { path, .. } => mkdir_hint(path),
            Self::Output {
                action: OutputAction::Rename,
                path,
                source,
            } if is_locked(source.kind()) => Hint::from(format!(
                "close what has {} open, such as a virtual machine, and see that it is not read-only",
                path.display()
            ))
            .and(name("; or name another file")),
            Self::Output { path, source, .. } => match (Untrusted::from_error(source), source.kind()) {
                (Some(refusal), _) => return refusal.output_hint(),
                (None, io::ErrorKind::NotFound) => mkdir_hint(path),
                (None, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                    name("name a file").and(" in a directory that you can write to")
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

/// Returns whether a file could not be replaced because of what it is, rather than of where it is:
/// on Windows one that is open, or read-only.
fn is_locked(kind: io::ErrorKind) -> bool {
    kind == io::ErrorKind::ResourceBusy || (cfg!(windows) && kind == io::ErrorKind::PermissionDenied)
}

impl Failure for LayerFailure {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Source(error) => error.kind(),
            Self::Blob(error) | Self::Content(error) => error.kind(),
            Self::Copy(_) | Self::UnreadableCopy(_) => ErrorKind::Transient,
            Self::Read(source) => source.kind().into(),
            Self::Decode(error) => error.kind(),
            Self::Apply(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Source(error) => error.hint(),
            Self::Blob(error) => error.hint(),
            Self::Copy(_) | Self::UnreadableCopy(_) => Some(Hint::again()),
            Self::Content(_) => {
                Some("build the image again: it contradicts itself, so no other copy of it is better".into())
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
    fn a_disk_is_full_wherever_it_is_noticed() {
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

    #[cfg(feature = "registry")]
    #[test]
    fn a_registry_that_is_busy_says_when_to_come_back() {
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
    #[test]
    fn an_image_that_is_too_small_says_what_it_needs() {
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
