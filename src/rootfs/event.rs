//! Events of a build: phases, progress, waits and warnings.
//!
//! To add an event, add a variant to [`Event`], emit it with `Events::emit`, and show it in
//! `SharedDisplay::handle` of `src/cli/progress.rs`, which ignores unknown ones;
//! `tests/sources/events.rs` fails on them.
//!
//! To add a phase, add a variant to [`Phase`] at its place in the order of a build, with its name
//! in `Display`, and start it with `Build::begin_phase` in `src/rootfs.rs`, which logs its duration
//! too. The command shows each phase after [`Phase::Layers`] by its name. The test of the order is
//! in `tests/sources/events.rs`.

use std::fmt;

use super::Warning;
use oci::{Progress, Wait};

/// An event of a build, for [`BuildOptions::events`](super::BuildOptions::events).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A phase began. It ends when the next one begins, or when the build ends.
    Phase(Phase),
    /// The layers became known, a layer advanced, or a wait ended. Emitted for every few KiB.
    Progress(Progress),
    /// A wait began: for the next attempt of a request, or for an answer or a lock, once that has
    /// taken seconds.
    Waiting(Wait),
    /// The disk image may differ from the user's expectation. Emitted once for each cause.
    Warning(Warning),
}

impl From<oci::Event> for Event {
    fn from(event: oci::Event) -> Self {
        match event {
            oci::Event::Waiting(wait) => Self::Waiting(wait),
            oci::Event::Progress(progress) => Self::Progress(progress),
            other => unreachable!("an event that oci does not have: {other:?}"),
        }
    }
}

/// A phase of a build.
///
/// Each occurs at most once, in this order. If a damaged blob in the state directory makes the
/// build start again, the phases start again too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// Resolves the reference to an image.
    Resolve,
    /// Downloads, decompresses, applies and writes the layers, several at once.
    Layers,
    /// Writes the metadata of the file system.
    Metadata,
    /// Makes the file system again with mke2fs.
    Mke2fs,
    /// Waits until the file is on the disk (fsync).
    Sync,
    /// Computes the digest of the file.
    Digest,
    /// Exports the tree to a stage directory.
    Export,
}

impl fmt::Display for Phase {
    /// Writes the phase's name for users, such as `writing metadata`.
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
