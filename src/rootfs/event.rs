//! Reports of a build on its way.

use std::fmt;

use super::Warning;
use oci::{Progress, Wait};

/// A report of a build on its way, for [`BuildOptions::events`](super::BuildOptions::events).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A phase begins. It ends when the next one begins, or the build ends.
    Phase(Phase),
    /// The layers became known, one of them got on, or a wait ended. Comes for every few KiB.
    Progress(Progress),
    /// A wait began: for another attempt, or one that has taken seconds.
    Waiting(Wait),
    /// The disk image is otherwise than one might expect. Comes once for each cause.
    Warning(Warning),
}

impl From<oci::Event> for Event {
    fn from(event: oci::Event) -> Self {
        match event {
            oci::Event::Waiting(wait) => Self::Waiting(wait),
            oci::Event::Progress(progress) => Self::Progress(progress),
            other => unreachable!("oci has no other event: {other:?}"),
        }
    }
}

/// A phase of a build. Each comes at most once, in this order, unless a damaged copy of a blob in
/// the state directory makes the build begin again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// The image is looked for.
    Resolve,
    /// Its layers are downloaded, decompressed, applied and written, several at once.
    Layers,
    /// The metadata of the file system is written.
    Metadata,
    /// An mke2fs makes the file system again.
    Mke2fs,
    /// The system writes the file to the disk.
    Sync,
    /// The digest of the file is computed.
    Digest,
    /// The tree is exported to a directory.
    Export,
}

impl fmt::Display for Phase {
    /// Names the phase for users, such as `writing metadata`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "looking for the image",
            Self::Layers => "applying layers",
            Self::Metadata => "writing metadata",
            Self::Mke2fs => "running mke2fs",
            Self::Sync => "syncing the disk image",
            Self::Digest => "hashing the disk image",
            Self::Export => "exporting the tree",
        })
    }
}
