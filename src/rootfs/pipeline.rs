//! Layers read ahead: as many threads as there shall be take steps, and one of them applies what comes out, in order.
//!
//! ```text
//! blob ─► fetch ─► decode ─► check ─► apply ─► image
//! ```
//!
//! Each layer has a [`Lane`], through which it moves in pieces: *fetch* reads the blob and hashes it, *decode* undoes its
//! compression, *check* hashes the tar, and keeps it if that is wanted, and the thread that builds applies it. A step takes one
//! piece through one box, and belongs to one thread while it lasts, so that each box sees its pieces in order, and no thread
//! ever waits while there is something to do. The applier takes steps too whenever its next piece is not ready; without other threads it takes all of them.
//!
//! Memory is bounded by the pieces of a lane and the lanes that are open. Which thread does what, and when, changes nothing of what
//! the applier sees.

mod decoding;
mod feed;
mod lane;
mod piece;
mod tar_check;

use std::io::{self, BufRead};
use std::mem;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::error::LayerFailure;
use crate::image::{DigestError, Layer, Source};
use crate::layer::Compression;
use crate::rootfs::interrupt;
use decoding::End;
use lane::{Lane, Step};
use piece::{Piece, PieceReader, Pieces};

/// Most layers that are read at once. Each may have a window of 128 MiB, if it is compressed with zstd.
const MAX_LANES: usize = 4;

/// The layers of an image on their way to whoever applies them.
pub(super) struct Pipeline<'a> {
    source: &'a Source,
    layers: &'a [Layer],
    interrupted: &'a AtomicBool,
    thread_count: usize,
    lane_count: usize,
    state: Mutex<State<'a>>,
    changed: Condvar,
}

struct State<'a> {
    lanes: Vec<Lane<'a>>,
    /// The layer that is being applied; those below are done.
    current: usize,
    /// Pieces to be used again.
    spare: Vec<Piece>,
    is_stopped: bool,
}

/// Who takes a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Keeps the decoders going, which all else depends on.
    Worker,
    /// Takes the step that is nearest to what it waits for, and none that waits for the bytes of another layer.
    Applier,
}

impl<'a> Pipeline<'a> {
    /// Prepares to read layers, from the first on, with so many threads, the one that applies them included.
    pub(super) fn new(
        source: &'a Source,
        layers: &'a [Layer],
        thread_count: NonZeroUsize,
        interrupted: &'a Arc<AtomicBool>,
    ) -> Self {
        let lane_count = (thread_count.get() + 1).min(MAX_LANES);
        Self {
            source,
            layers,
            interrupted,
            // One each to fetch, to decode and to check is all that a lane can make use of.
            thread_count: thread_count.get().min(1 + 3 * lane_count.min(layers.len())),
            lane_count,
            state: Mutex::new(State {
                lanes: layers
                    .iter()
                    .map(|layer| Lane::new(source, layer, interrupted))
                    .collect(),
                current: 0,
                spare: Vec::new(),
                is_stopped: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Has the other threads take steps while `apply` asks for one layer after the other. They end when it does, whatever it was
    /// that ended it.
    pub(super) fn run<T>(&self, apply: impl FnOnce() -> T) -> T {
        thread::scope(|scope| {
            let _stop = Stop(self);
            for number in 1..self.thread_count {
                let worker = thread::Builder::new().name(format!("layers-{number}"));
                // With fewer threads it takes longer, and with none too.
                if worker.spawn_scoped(scope, || self.work()).is_err() {
                    break;
                }
            }
            apply()
        })
    }

    /// Waits for a layer, which must be the one after the last that was asked for.
    ///
    /// # Errors
    ///
    /// [`LayerFailure::Source`] and [`LayerFailure::Decode`]; only after the latter, the layer has an [`Pipeline::end`].
    pub(super) fn open(&self, index: usize) -> Result<Tar<'_, 'a>, LayerFailure> {
        self.lock().current = index;
        self.changed.notify_all();
        let compression = self.wait(|state| state.lanes[index].opened.take())?;
        let pieces = Applied { pipeline: self, index };
        Ok(Tar {
            compression,
            reader: PieceReader::new(pieces),
        })
    }

    /// Waits for the end of the blob of a layer, without reading its tar any further.
    pub(super) fn end(&self, index: usize) -> End {
        let mut state = self.lock();
        let State { lanes, spare, .. } = &mut *state;
        lanes[index].skip(spare);
        drop(state);
        self.wait(|state| state.lanes[index].end.take())
    }

    /// Takes steps until there are no more.
    fn work(&self) {
        let mut state = self.lock();
        while !state.is_stopped {
            state = match self.next_step(&mut state, Role::Worker) {
                Some(step) => {
                    drop(state);
                    self.take(step)
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Takes steps until there is what is waited for.
    fn wait<T>(&self, mut find: impl FnMut(&mut State<'a>) -> Option<T>) -> T {
        let mut state = self.lock();
        loop {
            if let Some(found) = find(&mut state) {
                return found;
            }
            assert!(!state.is_stopped, "a thread that read layers has panicked");
            state = match self.next_step(&mut state, Role::Applier) {
                Some(step) => {
                    drop(state);
                    self.take(step)
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// The most urgent step that there is: of the layer that is applied, and only then of those above it.
    fn next_step(&self, state: &mut State<'a>, role: Role) -> Option<(usize, Step<'a>)> {
        let State {
            lanes, current, spare, ..
        } = state;
        let open = lanes.iter_mut().enumerate().skip(*current).take(self.lane_count);
        for (index, lane) in open {
            let step = match role {
                Role::Worker => lane
                    .next_decode(spare)
                    .or_else(|| lane.next_check())
                    .or_else(|| lane.next_fetch()),
                Role::Applier if index == *current || self.source.is_here(&self.layers[index]) => lane
                    .next_check()
                    .or_else(|| lane.next_fetch())
                    .or_else(|| lane.next_decode(spare)),
                Role::Applier => lane.next_check(),
            };
            if let Some(step) = step {
                return Some((index, step));
            }
        }
        None
    }

    fn take(&self, step: (usize, Step<'a>)) -> MutexGuard<'_, State<'a>> {
        let (index, step) = step;
        let on_panic = Stop(self);
        let outcome = step.take();
        mem::forget(on_panic);
        let mut state = self.lock();
        let State { lanes, spare, .. } = &mut *state;
        lanes[index].put(outcome, spare);
        self.changed.notify_all();
        state
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the steps, and the waiting for bytes, when it is dropped.
struct Stop<'pipeline, 'a>(&'pipeline Pipeline<'a>);

impl Drop for Stop<'_, '_> {
    fn drop(&mut self) {
        self.0.lock().is_stopped = true;
        self.0.source.abandon();
        self.0.changed.notify_all();
    }
}

/// The tar of a layer.
pub(super) struct Tar<'pipeline, 'a> {
    compression: Compression,
    reader: PieceReader<Applied<'pipeline, 'a>>,
}

impl Tar<'_, '_> {
    /// How the layer is compressed.
    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// Its bytes.
    pub(super) fn reader(&mut self) -> &mut impl BufRead {
        &mut self.reader
    }

    /// Holds what was read, which must be all of it, against the digest in the config.
    ///
    /// # Errors
    ///
    /// [`DigestError::DigestMismatch`].
    pub(super) fn finish(self) -> Result<(), DigestError> {
        let Applied { pipeline, index } = self.reader.into_pieces();
        let check = pipeline.lock().lanes[index].check.take();
        check.expect("nobody hashes a tar after its end").finish()
    }
}

/// The end of a lane, where its pieces are applied.
struct Applied<'pipeline, 'a> {
    pipeline: &'pipeline Pipeline<'a>,
    index: usize,
}

impl Pieces for Applied<'_, '_> {
    fn next(&mut self, read: Option<Piece>) -> io::Result<Option<Piece>> {
        // Few bytes of a blob can be gigabytes of zeros, for which nothing else is read or written.
        interrupt::check(self.pipeline.interrupted)?;
        if let Some(piece) = read {
            let mut state = self.pipeline.lock();
            state.lanes[self.index].recycled();
            state.spare.push(piece);
            drop(state);
            self.pipeline.changed.notify_all();
        }
        self.pipeline.wait(|state| state.lanes[self.index].next_piece())
    }
}
