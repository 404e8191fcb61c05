//! What to do about each failure, for whoever reads it.

use std::io;
use std::path::Path;

use ext4::FormatError;

use super::{BuildError, LayerFailure};
use crate::guest::GuestError;
use crate::image::{ImageError, LayoutError, ManifestError, RegistryError};
use crate::layer::{LayerError, LayerErrorKind};

const MIB: u64 = 1 << 20;

impl BuildError {
    /// What to do about it, in words for the command line; none where there is nothing to say but the error itself.
    #[must_use]
    pub fn remediation(&self) -> Option<String> {
        match self {
            Self::Mutable { pinned, .. } => Some(pin(pinned.as_deref())),
            Self::OutputNotAFile { found, .. } => Some(another_output(found)),
            Self::Output { path, source, .. } => output(path, source.kind()),
            Self::Image { source, .. } => image(source),
            Self::Layer { source, .. } => layer(source),
            Self::DiskTooLarge { needed, .. } => Some(raise("--max-size-mib", needed.div_ceil(MIB))),
            Self::Guest(error) => guest(error),
            Self::Format(error) => format(error),
            Self::Interrupted => Some(RUN_AGAIN.to_owned()),
        }
    }
}

const FETCH_AGAIN: &str = "fetch or push the image again: what is there now is not what its digests promise";
const RUN_AGAIN: &str = "run the same command again";
const BUILD_AGAIN: &str = "build the image again: it contradicts itself, so no other copy of it is better";

fn pin(pinned: Option<&str>) -> String {
    match pinned {
        Some(pinned) => {
            format!("pin the image with --image {pinned}, or accept with --allow-mutable that it may change")
        }
        None => "pin the image with @sha256:<digest>, or accept with --allow-mutable that it may change; \
                 the resolved_ref of a build with --allow-mutable is pinned"
            .to_owned(),
    }
}

fn another_output(found: &str) -> String {
    match found {
        "directory" => "name a file in it with --out",
        "symlink" => "name the file that it leads to with --out, or remove it",
        "device" => "build a file, and copy it to the device afterwards, for example with dd",
        _ => "name another file with --out, or remove it",
    }
    .to_owned()
}

fn output(path: &Path, kind: io::ErrorKind) -> Option<String> {
    match kind {
        io::ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(path).display();
            Some(format!("make the directory first: mkdir -p {directory}"))
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("name a file with --out in a directory that you can write to".to_owned())
        }
        kind => disk(kind),
    }
}

fn disk(kind: io::ErrorKind) -> Option<String> {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space, or write to another disk".to_owned())
        }
        io::ErrorKind::FileTooLarge => Some(
            "raise the limit on the size of files (ulimit -f), or write to a file system that takes larger ones"
                .to_owned(),
        ),
        _ => None,
    }
}

fn image(error: &ImageError) -> Option<String> {
    let text = match error {
        ImageError::Layout(LayoutError::Read { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
            "make the layout readable for you"
        }
        ImageError::Layout(LayoutError::NoLayout { .. }) => {
            "name the directory that holds the file oci-layout, as oci:<directory>"
        }
        ImageError::Layout(LayoutError::MissingBlob { .. }) => {
            "copy the image into the layout again, whole: skopeo copy --all, for example"
        }
        ImageError::Layout(LayoutError::NoSuchTag { .. } | LayoutError::Ambiguous { .. }) => {
            "name one of those that there are"
        }
        ImageError::Registry(RegistryError::Unauthorized {
            has_credentials: false, ..
        }) => {
            "check the name; for a private image, set REGISTRY_AUTH_FILE to a file with credentials \
             (containers-auth.json(5), as podman login --authfile writes it)"
        }
        ImageError::Registry(RegistryError::Unauthorized { .. }) => {
            "check the credentials in REGISTRY_AUTH_FILE, and that they may pull this repository"
        }
        ImageError::Registry(RegistryError::NotFound { .. }) => "check the repository, and the tag or digest",
        ImageError::Registry(error) if error.is_transient() => "try again later; check the network if it goes on",
        ImageError::Store(_) => "name a directory with --state-dir that you can write to, with space for the layers",
        ImageError::Content { .. } => FETCH_AGAIN,
        ImageError::NoPlatform { .. } => "ask for one of those that there are with --os and --arch",
        ImageError::Document {
            source: ManifestError::NotAnImage { .. } | ManifestError::UnknownLayer { .. },
            ..
        } => "name a container image",
        _ => return None,
    };
    Some(text.to_owned())
}

fn layer(failure: &LayerFailure) -> Option<String> {
    match failure {
        LayerFailure::Source(error) => image(error),
        LayerFailure::Blob(_) => Some(FETCH_AGAIN.to_owned()),
        LayerFailure::Copy(_) => Some(RUN_AGAIN.to_owned()),
        LayerFailure::Apply(LayerError {
            kind: LayerErrorKind::Image(error),
            ..
        }) => format(error),
        LayerFailure::Apply(LayerError {
            kind: LayerErrorKind::TooLarge { len, .. },
            ..
        }) => Some(raise("--max-size-mib", len.div_ceil(MIB))),
        LayerFailure::Apply(LayerError {
            kind: LayerErrorKind::TooManyEntries { count, .. },
            ..
        }) => Some(raise("--max-entries", *count)),
        LayerFailure::Apply(LayerError {
            kind: LayerErrorKind::TooMuchMetadata { len, .. },
            ..
        }) => Some(raise("--max-metadata-mib", len.div_ceil(MIB))),
        LayerFailure::Content(_) | LayerFailure::Apply(_) => Some(BUILD_AGAIN.to_owned()),
        LayerFailure::Read(_) | LayerFailure::Decode(_) => None,
    }
}

/// How to raise a limit that an image exceeds by what was read of it.
fn raise(flag: &str, least: u64) -> String {
    format!("if you trust the image, raise the limit with {flag}, to {least} at the least")
}

fn guest(error: &GuestError) -> Option<String> {
    let text = match error {
        GuestError::Platform { .. } => "leave the init away with --init none, and boot with one of your own",
        GuestError::NoCommand => {
            "say what to run with --exec, or leave the init away with --init none and boot with the image's own"
        }
        GuestError::NoShell => {
            "leave --exec away to run the image's own command, or build an image whose command is what you want"
        }
        GuestError::Taken { .. } => "name another path with --init",
        GuestError::Image(error) => return format(error),
        GuestError::Read { source, .. } => return disk(source.kind()),
        GuestError::Tree(_) => return None,
        _ => "correct the image's config, or leave the init away with --init none",
    };
    Some(text.to_owned())
}

fn format(error: &FormatError) -> Option<String> {
    match error {
        FormatError::NoSpace { needed, .. } => {
            let mib = needed.div_ceil(MIB);
            Some(format!(
                "ask for --size-mib {mib} or more, or leave it out to make the disk fit"
            ))
        }
        FormatError::TooLarge { max, .. } => Some(format!("ask for --size-mib {} or less", max / MIB)),
        FormatError::Image { source, .. } => disk(source.kind()),
        _ => None,
    }
}
