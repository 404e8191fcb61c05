//! Warnings of a build that succeeded.
//!
//! To add a warning, add a variant to [`Warning`] and its text to `Display`. If it concerns a
//! layer, count the cause in `layer::LayerSummary` and return the warning from
//! `AppliedLayer::warnings` in `report.rs`. Otherwise report it with `Build::warn` in
//! `src/rootfs.rs`. Either way it becomes an event and part of the report; the command prints it on
//! standard error. `README.md` describes warnings where it describes their causes.

use std::fmt;
use std::path::PathBuf;

use layer::Compression;
use layer::text::harmless;
use oci::{CredentialHelper, Digest, Platform};

/// A way in which a disk image may differ from the user's expectation.
///
/// Displayed as one line. Control characters in names from the image are escaped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Warning {
    /// The index has no image for the platform, and the one that was used has 32-bit programs,
    /// which the platform can run.
    NarrowerPlatform {
        /// The platform in the options.
        wanted: Platform,
        /// The platform of the image.
        found: Platform,
    },
    /// The image needs a processor of a higher level than the platform requires.
    ProcessorLevel {
        /// The platform in the options.
        wanted: Platform,
        /// The platform of the image.
        found: Platform,
    },
    /// The platform in the image's config differs from that in its index.
    ConfigPlatform {
        /// The platform in the index.
        listed: Platform,
        /// The platform in the config, as written.
        config: String,
    },
    /// A credentials file refers to a credential helper for the registry. Helpers are never
    /// executed.
    IgnoredCredentialHelper(CredentialHelper),
    /// The output takes up all of its size on the disk.
    NotSparse {
        /// Path of the output.
        path: PathBuf,
    },
    /// The compression of a layer differs from that in its media type.
    Compression {
        /// The layer.
        layer: Digest,
        /// Its compression.
        found: Compression,
        /// Its media type, as written.
        media_type: String,
    },
    /// Extended attributes were ignored that Linux does not permit on files of the type.
    ///
    /// These are attributes in `user.` of symlinks, devices and pipes, those in `system.` except
    /// ACLs, and those outside Linux's namespaces.
    IgnoredXattrs {
        /// The layer.
        layer: Digest,
        /// Number of attributes.
        count: u64,
    },
    /// Extended attributes of overlayfs itself were ignored.
    OverlayXattrs {
        /// The layer.
        layer: Digest,
        /// Number of attributes.
        count: u64,
    },
    /// ACLs in textual form were ignored.
    TextAcls {
        /// The layer.
        layer: Digest,
        /// Number of ACLs.
        count: u64,
    },
    /// Bytes other than zeros follow the end of a layer's archive, and were ignored.
    DataAfterEnd {
        /// The layer.
        layer: Digest,
    },
}

impl Warning {
    /// Returns the warning if the platform of an image differs from the one in the options.
    pub(super) fn of_platform(wanted: &Platform, found: &Platform) -> Option<Self> {
        let (wanted, found) = (wanted.clone(), found.clone());
        if found.architecture != wanted.architecture {
            return Some(Self::NarrowerPlatform { wanted, found });
        }
        let is_higher =
            wanted.architecture == "amd64" && wanted.variant.is_none() && found.variant.as_deref() == Some("v2");
        is_higher.then_some(Self::ProcessorLevel { wanted, found })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NarrowerPlatform { wanted, found } => write!(
                f,
                "no image for {wanted} was found, so the one for {} is used: boot it with a kernel that runs 32-bit \
                 programs",
                harmless(&found.to_string())
            ),
            Self::ProcessorLevel { wanted, found } => write!(
                f,
                "no image for {wanted} was found, so the one for {found} is used: boot it on a processor of that level \
                 (SSE4.2, POPCNT), such as QEMU's -cpu host"
            ),
            Self::ConfigPlatform { listed, config } => write!(
                f,
                "the index lists this image for {}, but its config is for {}: it is used as an image for {0}",
                harmless(&listed.to_string()),
                harmless(config)
            ),
            Self::IgnoredCredentialHelper(helper) => write!(f, "{helper}: the registry was asked anonymously"),
            Self::NotSparse { path } => write!(
                f,
                "{} takes all of its size on this disk: it could not be made a sparse file, which NTFS supports and FAT \
                 does not",
                path.display()
            ),
            Self::Compression {
                layer,
                found,
                media_type,
            } => write!(
                f,
                "layer {layer}: is {found}, although its media type is {}",
                harmless(media_type)
            ),
            Self::IgnoredXattrs { layer, count } => write!(
                f,
                "layer {layer}: ignored {count} extended attributes that Linux does not permit on these files: user.* of \
                 symlinks, devices or pipes, system.* except ACLs, or other namespaces such as com.apple.*"
            ),
            Self::OverlayXattrs { layer, count } => write!(
                f,
                "layer {layer}: ignored {count} extended attributes of overlayfs itself (trusted.overlay.*, user.overlay.*)"
            ),
            Self::TextAcls { layer, count } => {
                write!(f, "layer {layer}: ignored {count} ACLs in textual form (SCHILY.acl.*)")
            }
            Self::DataAfterEnd { layer } => write!(f, "layer {layer}: ignored data after the end of the archive"),
        }
    }
}
