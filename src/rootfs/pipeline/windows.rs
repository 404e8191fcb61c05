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

use super::chunk::Chunk;
use super::layer_task::LayerTask;
use super::work::MAX_OPEN;
use crate::layer::MAX_WINDOW;

/// Number of shares, which together are the largest window that a decoder takes.
pub(super) const WINDOW_SHARES: usize = MAX_OPEN;

/// Bytes of a share: 128 MiB.
pub(super) const WINDOW_SHARE: u64 = MAX_WINDOW / WINDOW_SHARES as u64;

/// The shares of a layer.
#[derive(Clone, Copy, Default)]
pub(super) struct Claim {
    held: usize,
    wanted: usize,
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

/// Grants what open layers claim, of which the first is the one that is applied.
pub(super) fn grant(open: &mut [LayerTask<'_>], spare: &mut Vec<Chunk>) {
    let held = |tasks: &[LayerTask<'_>]| tasks.iter().map(|task| task.claim.held).sum::<usize>();
    let Some(lacking) = open.first().map(|current| current.claim.lacking()) else {
        return;
    };
    if lacking > 0 {
        // Layers that begin again give theirs back.
        let mut kept = held(open);
        kept -= open
            .iter()
            .filter(|task| task.is_restarting())
            .map(|task| task.claim.held)
            .sum::<usize>();
        for task in open[1..].iter_mut().rev() {
            if WINDOW_SHARES - kept >= lacking {
                break;
            }
            if !task.is_restarting() {
                kept -= task.claim.held;
                task.restart(spare);
            }
        }
        if WINDOW_SHARES - held(open) < lacking {
            return;
        }
        open[0].claim.held = open[0].claim.wanted;
    }
    let mut free = WINDOW_SHARES - held(open);
    for claim in open.iter_mut().map(|task| &mut task.claim) {
        if claim.held == 0 && claim.wanted == 1 && free > 0 {
            claim.held = 1;
            free -= 1;
        }
    }
}
