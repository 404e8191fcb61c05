//! Memory for the windows of zstd decoders, shared by all layers: 512 MiB.
//!
//! A frame's header declares the size of its window, so the decoder reads the header before it
//! allocates the window. The memory has [`WINDOW_SHARES`] shares of [`WINDOW_SHARE`] bytes, one for
//! each layer that can be open. A layer requests shares when a frame needs a window, and holds them
//! until its tar ends, since its decoder keeps the memory.
//!
//! # Rules
//!
//! 1. A layer above the one that is applied holds at most one share. It gets one if one is free. If
//!    its frame needs more, it waits until the layer is applied.
//! 2. If the layer that is applied needs more shares than are free, layers above it return theirs,
//!    the highest first, and restart later. At most their waiting chunks are lost, since a decoder
//!    is never further ahead. A layer that restarts gets a share again only after the tar of
//!    another layer has ended, so it restarts at most three times.
//! 3. So the layer that is applied never waits for a layer that waits for it. It waits at most for
//!    jobs that other threads run, whose layers return their shares when the jobs end.
//!
//! To reserve for each layer the largest window that it may request would leave no memory for
//! decoding ahead.

use super::MAX_OPEN_LAYERS;
use layer::MAX_WINDOW;

/// Number of shares. Together they are the largest window that a decoder accepts.
pub(super) const WINDOW_SHARES: usize = MAX_OPEN_LAYERS;

/// Bytes of a share: 128 MiB.
pub(super) const WINDOW_SHARE: u64 = MAX_WINDOW / WINDOW_SHARES as u64;

/// The shares that a layer holds and requests.
#[derive(Clone, Copy, Default)]
pub(super) struct WindowClaim {
    pub(super) held: usize,
    pub(super) requested: usize,
}

impl WindowClaim {
    /// Requests the shares for a window of `window` bytes.
    pub(super) fn request(&mut self, window: u64) {
        let shares = usize::try_from(window.div_ceil(WINDOW_SHARE)).unwrap_or(usize::MAX);
        assert!(shares <= WINDOW_SHARES, "decoders refuse larger windows");
        self.requested = shares;
    }

    /// Returns the number of shares that are requested and not held.
    pub(super) fn missing(self) -> usize {
        self.requested.saturating_sub(self.held)
    }
}
