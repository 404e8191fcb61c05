//! Warnings about an image that was built all the same.

use std::fmt;
use std::path::PathBuf;

use layer::Compression;
use layer::text::harmless;
use oci::{CredentialHelper, Digest, Platform};

/// A way in which a disk image is otherwise than its user might expect. Displayed as one line, in
/// which nothing of the image is more than text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Warning {
    /// There is no image for the platform, but one for 32-bit programs that it runs too.
    Narrower {
        /// The platform that was asked for.
        wanted: Platform,
        /// The platform of the image.
        found: Platform,
    },
    /// The image needs a processor of a higher level than the platform promises.
    ProcessorLevel {
        /// The platform that was asked for.
        wanted: Platform,
        /// The platform of the image.
        found: Platform,
    },
    /// The image's config names another platform than its index.
    ConfigPlatform {
        /// The platform by the index.
        listed: Platform,
        /// The platform by the config, as written.
        config: String,
    },
    /// A credentials file leaves the registry's credentials to a helper, which is never executed.
    UnaskedHelper(CredentialHelper),
    /// The output takes all of its size on the disk.
    NotSparse {
        /// Path of the output.
        path: PathBuf,
    },
    /// A layer is compressed otherwise than its media type says.
    Compression {
        /// The layer.
        layer: Digest,
        /// Its compression.
        found: Compression,
        /// Its media type, as written.
        media_type: String,
    },
    /// Extended attributes were left out, since Linux lets no such file have them.
    ///
    /// They are those in `user.` of symlinks, devices and pipes, those in `system.` but ACLs, and
    /// those outside of its namespaces.
    IgnoredXattrs {
        /// The layer.
        layer: Digest,
        /// Number of attributes.
        count: u64,
    },
    /// Extended attributes of overlayfs itself were left out.
    OverlayXattrs {
        /// The layer.
        layer: Digest,
        /// Number of attributes.
        count: u64,
    },
    /// ACLs in textual form were left out.
    TextAcls {
        /// The layer.
        layer: Digest,
        /// Number of ACLs.
        count: u64,
    },
    /// Anything but zeros follows the end of a layer's archive, and was ignored.
    DataAfterEnd {
        /// The layer.
        layer: Digest,
    },
}

impl Warning {
    /// Compares the platform of an image with the one that was asked for.
    pub(super) fn of_platform(wanted: &Platform, found: &Platform) -> Option<Self> {
        let (wanted, found) = (wanted.clone(), found.clone());
        if found.architecture != wanted.architecture {
            return Some(Self::Narrower { wanted, found });
        }
        let is_higher =
            wanted.architecture == "amd64" && wanted.variant.is_none() && found.variant.as_deref() == Some("v2");
        is_higher.then_some(Self::ProcessorLevel { wanted, found })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Narrower { wanted, found } => write!(
                f,
                "there is no image for {wanted}, so this is the one for {}: boot it with a kernel that runs 32-bit programs",
                harmless(&found.to_string())
            ),
            Self::ProcessorLevel { wanted, found } => write!(
                f,
                "there is no image for {wanted}, so this is the one for {found}: boot it on a processor of that level \
                 (SSE4.2, POPCNT), such as QEMU's -cpu host"
            ),
            Self::ConfigPlatform { listed, config } => write!(
                f,
                "the index lists this image for {}, but its config says {}: it was taken for {0}",
                harmless(&listed.to_string()),
                harmless(config)
            ),
            Self::UnaskedHelper(helper) => write!(f, "{helper}: the registry was asked anonymously"),
            Self::NotSparse { path } => write!(
                f,
                "{} takes all of its size on this disk: it could not be made a sparse file, which NTFS knows and FAT does \
                 not",
                path.display()
            ),
            Self::Compression {
                layer,
                found,
                media_type,
            } => write!(
                f,
                "layer {layer}: is {found}, though its media type is {}",
                harmless(media_type)
            ),
            Self::IgnoredXattrs { layer, count } => write!(
                f,
                "layer {layer}: left out {count} extended attributes that Linux lets no such file have: user.* of symlinks, \
                 devices or pipes, system.* but ACLs, or such as com.apple.*"
            ),
            Self::OverlayXattrs { layer, count } => write!(
                f,
                "layer {layer}: left out {count} extended attributes of overlayfs itself (trusted.overlay.*, user.overlay.*)"
            ),
            Self::TextAcls { layer, count } => {
                write!(f, "layer {layer}: left out {count} ACLs in textual form (SCHILY.acl.*)")
            }
            Self::DataAfterEnd { layer } => write!(f, "layer {layer}: ignored what follows the end of the archive"),
        }
    }
}
