//! Memory for the windows of zstd decoders, which all layers share.
//!
//! There are [`WINDOW_SHARES`] shares, of [`WINDOW_SHARE`] bytes each, one for each layer that can
//! be open. A layer claims them when a frame needs a window, and holds them until its tar ends, as
//! its decoder keeps the memory. Only the layer that is applied may hold more than one:
//!
//! 1. A layer above it gets the one share that it needs if one is free. If its frame needs more, it
//!    waits for its turn.
//! 2. If the layer that is applied needs more than are free, layers above it give back theirs, the
//!    highest first, and begin again later. Their decoders have come no further than the chunks
//!    that wait to be applied, so little is done twice; and no more than three times for each
//!    layer, since shares are given back only when a layer ends.
//!
//! So the layer that is applied never waits for a layer that waits for it. It waits at most for
//! jobs that other threads run right now, and their memory is free when they end.

use super::MAX_OPEN;
use layer::MAX_WINDOW;

/// Number of shares, which together are the largest window that a decoder takes.
pub(super) const WINDOW_SHARES: usize = MAX_OPEN;

/// Bytes of a share: 128 MiB.
pub(super) const WINDOW_SHARE: u64 = MAX_WINDOW / WINDOW_SHARES as u64;

/// The shares of a layer.
#[derive(Clone, Copy, Default)]
pub(super) struct Claim {
    pub(super) held: usize,
    pub(super) wanted: usize,
}

impl Claim {
    /// Claims the shares that a window of this many bytes takes.
    pub(super) fn want(&mut self, window: u64) {
        let shares = usize::try_from(window.div_ceil(WINDOW_SHARE)).unwrap_or(usize::MAX);
        assert!(shares <= WINDOW_SHARES, "a decoder refuses larger windows");
        self.wanted = shares;
    }

    pub(super) fn held(self) -> usize {
        self.held
    }

    /// Returns the shares that are claimed and not held.
    pub(super) fn lacking(self) -> usize {
        self.wanted.saturating_sub(self.held)
    }
}
